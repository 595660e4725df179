package restore

import (
	"fmt"
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Want is an authority that the restore of an object needs beyond what a
// plain process of the caller has.
type Want struct {
	Object string
	Need   plan.Need
}

// NeedsError says that the image asks for what nobody granted.
type NeedsError struct{ Wants []Want }

func (e *NeedsError) Error() string {
	var lines []string
	for _, w := range e.Wants {
		lines = append(lines, fmt.Sprintf("%s: needs %s (%s)", w.Object, w.Need.Demand, w.Need.Why))
	}
	return strings.Join(lines, "\n")
}

// wants lists what a plan needs, with the numbers of the tree, which are the
// engine's own need.
func (c *content) wants(steps []step, caller *kind.Caller) []Want {
	var out []Want
	if caller.UID.Real == 0 || caller.UID.Effective == 0 {
		out = append(out, Want{Object: fmt.Sprintf("process %d", c.tree.Tasks[0].PID),
			Need: plan.Need{Demand: "uid:0", Why: "it would run as root"}})
	}
	if !caller.Caps.Effective.Has(capCheckpointRestore) && !caller.Caps.Effective.Has(capSysAdmin) {
		out = append(out, Want{Object: fmt.Sprintf("process %d", c.tree.Tasks[0].PID),
			Need: plan.Need{Demand: "pid:here", Why: "its original PIDs want CAP_CHECKPOINT_RESTORE"}})
	}
	for i := range steps {
		for _, n := range steps[i].Needs {
			out = append(out, Want{Object: steps[i].name() + ": " + steps[i].Text, Need: n})
		}
	}
	return out
}

// Capabilities of linux/capability.h.
const (
	capSysAdmin          = 21
	capCheckpointRestore = 40
)

// judge refuses what is beyond the caller's own rights. Until there is a
// policy, only root may use rights beyond a plain process's, and only for an
// image that root's own trust vouches for.
func (c *content) judge(steps []step, o *Options) error {
	wants := c.wants(steps, &o.Caller)
	if len(wants) == 0 || o.Granted {
		return nil
	}
	return &NeedsError{wants}
}
