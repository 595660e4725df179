package restore

import (
	"fmt"
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
)

// NeedsError says that the image asks for what nobody granted.
type NeedsError struct{ Wants []policy.Judged }

func (e *NeedsError) Error() string {
	var lines []string
	for _, w := range e.Wants {
		lines = append(lines, fmt.Sprintf("%s: needs %s (%s)", w.Object, w.Need.Demand, w.Need.Why))
	}
	return strings.Join(lines, "\n")
}

// wants lists what a plan needs, with the numbers of the tree, which are the
// engine's own need.
func (c *content) wants(steps []step, caller *kind.Caller) []policy.Want {
	root := fmt.Sprintf("process %d", c.tree.Tasks[0].PID)
	var out []policy.Want
	add := func(object string, n plan.Need) {
		out = append(out, policy.Want{Object: object, Need: n})
	}
	if caller.UID.Real == 0 || caller.UID.Effective == 0 {
		add(root, plan.Need{Demand: "uid:0", Why: "it would run as root"})
	}
	if !caller.Caps.Effective.Has(capCheckpointRestore) && !caller.Caps.Effective.Has(capSysAdmin) {
		add(root, plan.Need{Demand: "pid:here", Why: "its original PIDs want CAP_CHECKPOINT_RESTORE"})
	}
	for i := range steps {
		if len(steps[i].Ops) == 0 {
			continue // lost, whoever would grant it
		}
		for _, n := range steps[i].Needs {
			add(steps[i].name()+": "+steps[i].Text, n)
		}
	}
	return out
}

// Capabilities of linux/capability.h.
const (
	capSysAdmin          = 21
	capCheckpointRestore = 40
)

// judge asks for a decision on all that a plan needs. Without a judge nothing
// is granted.
func (o *Options) judge(wants []policy.Want) policy.Decision {
	if o.Judge == nil {
		return (*policy.Policy)(nil).Judge(policy.Request{Wants: wants})
	}
	return o.Judge(wants)
}

// refusal is the error of a decision; nil if everything is granted.
func refusal(d policy.Decision) error {
	if d.OK {
		return nil
	}
	return &NeedsError{d.Refused()}
}
