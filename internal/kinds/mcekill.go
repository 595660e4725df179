package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type mceKillRecord struct {
	Early bool `cbor:"1,keyasint,omitempty"`
}

// Flags of a thread's /proc stat (include/linux/sched.h).
const (
	pfMCEProcess = 0x00000080
	pfMCEEarly   = 0x08000000
)

// MCEKill keeps when a thread that chose so is killed for damaged memory
// (PR_MCE_KILL(2const)). The others follow the system's setting.
func MCEKill() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, mceKillRecord]{
		Name:  "mcekill",
		At:    plan.Thread,
		Match: func(t *kind.ThreadSite) bool { return t.Stat.Flags&pfMCEProcess != 0 },
		Dump: func(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (mceKillRecord, error) {
			return mceKillRecord{Early: t.Stat.Flags&pfMCEEarly != 0}, nil
		},
		Plan: func(r mceKillRecord, h *kind.Host) []plan.Step {
			when := unix.PR_MCE_KILL_LATE
			if r.Early {
				when = unix.PR_MCE_KILL_EARLY
			}
			return oneStep(plan.Arm, "choose when damaged memory kills",
				prctlIn(h, unix.PR_MCE_KILL, plan.Int(unix.PR_MCE_KILL_SET), plan.Int(when)))
		},
	})
}
