package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// owner is who an inode that a plan makes belongs to, and its permissions.
type owner struct {
	mode uint32
	uid  credmap.UID
	gid  credmap.GID
}

// bornAs is what a new inode has that the tool makes (current_fsuid).
func bornAs(h *kind.Host, mode uint32) owner {
	return owner{mode, h.Caller.Creds.UID.FS, h.Caller.Creds.GID.FS}
}

// ownership makes want of what the object of a descriptor is by birth.
func ownership(fd plan.Ref, want, born owner) []plan.Step {
	var steps []plan.Step
	if want.uid != born.uid || want.gid != born.gid {
		steps = append(steps, plan.Step{
			Stage: plan.Settle,
			Text:  fmt.Sprintf("give it to user %d and group %d", want.uid, want.gid),
			Needs: []plan.Need{{Demand: fmt.Sprintf("own:%d:%d", want.uid, want.gid), Why: "an object of somebody else's is made"}},
			Ops: []plan.Op{plan.Call{Nr: unix.SYS_FCHOWN,
				Args: []plan.Arg{plan.FD(fd), plan.Int(want.uid), plan.Int(want.gid)}, Ret: plan.Exactly(0)}},
		})
	}
	if want.mode != born.mode {
		steps = append(steps, plan.Step{
			Stage: plan.Settle,
			Text:  fmt.Sprintf("set its permissions to %#o", want.mode),
			Ops: []plan.Op{plan.Call{Nr: unix.SYS_FCHMOD,
				Args: []plan.Arg{plan.FD(fd), plan.Int(want.mode)}, Ret: plan.Exactly(0)}},
		})
	}
	return steps
}

// slot is another result that belongs to the object of r.
func slot(r plan.Ref, n uint8) plan.Ref {
	r.Slot = n
	return r
}
