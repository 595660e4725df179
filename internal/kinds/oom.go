package kinds

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type oomRecord struct {
	Adj int32 `cbor:"1,keyasint,omitempty"` // -1000 (never killed) to 1000
}

// oomSlot names the descriptor by which a task writes its adjustment.
const oomSlot = 200

// OOM keeps how willingly the kernel kills a process when memory runs out
// (/proc/PID/oom_score_adj).
func OOM() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, oomRecord]{
		Name: "oom",
		At:   plan.Task,
		Dump: dumpOOM,
		Check: func(r oomRecord) error {
			if r.Adj < -1000 || r.Adj > 1000 {
				return fmt.Errorf("adjustment %d", r.Adj)
			}
			return nil
		},
		Plan: oomRecord.plan,
	})
}

func dumpOOM(_ kind.Dump, t *kind.TaskSite, _ []plan.Result) (oomRecord, error) {
	text, err := t.Proc.Read("oom_score_adj")
	if err != nil {
		return oomRecord{}, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 32)
	if err != nil {
		return oomRecord{}, fmt.Errorf("oom_score_adj: %w", err)
	}
	return oomRecord{int32(n)}, nil
}

// plan writes before the credentials change, while the file is the task's own.
// The least that the caller may write can't be read; what rstr was born with
// is surely allowed.
func (r oomRecord) plan(h *kind.Host) []plan.Step {
	born := h.Caller.Born.OOMAdj
	if r.Adj == born {
		return nil
	}
	s := plan.Step{Stage: plan.Arm, Text: fmt.Sprintf("set oom_score_adj to %d", r.Adj),
		Ops: writeInTask(h, plan.Ref{Site: h.Self.Site, ID: h.Self.ID, Slot: oomSlot},
			"/proc/self/oom_score_adj", fmt.Sprint(r.Adj))}
	if r.Adj < born {
		s.Needs = []plan.Need{{Demand: "oom", Why: fmt.Sprintf("oom_score_adj %d is below the caller's %d", r.Adj, born)}}
	}
	return []plan.Step{s}
}
