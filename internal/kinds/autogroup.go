package kinds

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type autogroupRecord struct {
	Nice int32 `cbor:"1,keyasint"`
}

// autogroupSlot names the descriptor by which a task writes its nice value.
const autogroupSlot = 201

// Autogroup keeps the nice value of a session as a whole (sched(7), The
// autogroup feature), with the leader of the session, where it is not 0.
func Autogroup() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, autogroupRecord]{
		Name: "autogroup",
		At:   plan.Task,
		Match: func(t *kind.TaskSite) bool {
			return t.Stat.Session == t.Stat.Pid && autogroupNice(t) != 0
		},
		Dump: func(_ kind.Dump, t *kind.TaskSite, _ []plan.Result) (autogroupRecord, error) {
			return autogroupRecord{autogroupNice(t)}, nil
		},
		Check: func(r autogroupRecord) error {
			if r.Nice < -20 || r.Nice > 19 {
				return fmt.Errorf("nice %d", r.Nice)
			}
			return nil
		},
		Plan: autogroupRecord.plan,
	})
}

// autogroupNice is 0 on a kernel without the feature, which has no such file.
func autogroupNice(t *kind.TaskSite) int32 {
	text, err := t.Proc.Read("autogroup")
	if err != nil {
		return 0
	}
	var group, nice int32
	if n, _ := fmt.Sscanf(string(text), "/autogroup-%d nice %d", &group, &nice); n != 2 {
		return 0
	}
	return nice
}

func (r autogroupRecord) plan(h *kind.Host) []plan.Step {
	s := plan.Step{Stage: plan.Arm, Text: fmt.Sprintf("set the session's nice value to %d", r.Nice),
		Ops: writeInTask(h, plan.Ref{Site: h.Self.Site, ID: h.Self.ID, Slot: autogroupSlot},
			"/proc/self/autogroup", fmt.Sprint(r.Nice))}
	if r.Nice < 0 {
		s.Needs = []plan.Need{{Demand: "sched", Why: fmt.Sprintf("nice %d for the session", r.Nice)}}
	}
	return []plan.Step{s}
}
