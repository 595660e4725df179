package kinds

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type subreaperRecord struct {
	On bool `cbor:"1,keyasint,omitempty"`
}

// Subreaper keeps whether orphans below a process become its children
// (PR_SET_CHILD_SUBREAPER(2const)).
func Subreaper() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, subreaperRecord]{
		Name: "subreaper",
		At:   plan.Task,
		Ask:  asks[*kind.TaskSite](prctlAsk(unix.PR_GET_CHILD_SUBREAPER, plan.Out(4))),
		Dump: func(_ kind.Dump, _ *kind.TaskSite, asked []plan.Result) (subreaperRecord, error) {
			if err := answer(asked[0], "the child subreaper"); err != nil {
				return subreaperRecord{}, err
			}
			return subreaperRecord{binary.LittleEndian.Uint32(asked[0].Out[0]) != 0}, nil
		},
		Plan: func(r subreaperRecord, h *kind.Host) []plan.Step {
			if !r.On {
				return nil
			}
			return oneStep(plan.Settle, "make it the parent of orphans below it",
				prctlIn(h, unix.PR_SET_CHILD_SUBREAPER, plan.Int(1)))
		},
	})
}
