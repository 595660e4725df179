package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type pdeathsigRecord struct {
	Signal uint32 `cbor:"1,keyasint,omitempty"`
}

// ParentDeathSignal keeps the signal that a thread gets when its parent ends
// (PR_SET_PDEATHSIG(2const)). A change of credentials clears it, so it is set
// after them.
func ParentDeathSignal() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, pdeathsigRecord]{
		Name: "pdeathsig",
		At:   plan.Thread,
		Ask:  asks[*kind.ThreadSite](prctlAsk(unix.PR_GET_PDEATHSIG, plan.Out(4))),
		Dump: func(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (pdeathsigRecord, error) {
			if err := answer(asked[0], "the parent-death signal"); err != nil {
				return pdeathsigRecord{}, err
			}
			return pdeathsigRecord{binary.LittleEndian.Uint32(asked[0].Out[0])}, nil
		},
		Check: func(r pdeathsigRecord) error {
			if r.Signal > maxSignal {
				return fmt.Errorf("no signal: %d", r.Signal)
			}
			return nil
		},
		Plan: func(r pdeathsigRecord, h *kind.Host) []plan.Step {
			if r.Signal == 0 {
				return nil
			}
			return oneStep(plan.Seal, fmt.Sprintf("ask for signal %d when the parent ends", r.Signal),
				prctlIn(h, unix.PR_SET_PDEATHSIG, plan.Int(r.Signal)))
		},
	})
}
