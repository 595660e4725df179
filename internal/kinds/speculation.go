package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// speculationRecord holds PR_SPEC_* controls; 0 leaves a thread as it is born.
type speculationRecord struct {
	StoreBypass    uint32 `cbor:"1,keyasint,omitempty"`
	IndirectBranch uint32 `cbor:"2,keyasint,omitempty"`
}

// Speculation keeps the mitigations that a thread switched on for itself
// (PR_SET_SPECULATION_CTRL(2const)), as the kernel shows them in status. That
// a mitigation ends at the next execve(2) (PR_SPEC_DISABLE_NOEXEC) it does
// not show there; it then lasts longer.
func Speculation() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, speculationRecord]{
		Name: "speculation",
		At:   plan.Thread,
		Dump: func(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (speculationRecord, error) {
			return speculationOf(t), nil
		},
		Check: speculationRecord.check,
		Plan:  speculationRecord.plan,
	})
}

// speculationOf reads the two lines of status (proc_pid_status; fs/proc/array.c).
// Whatever is not the thread's own choice needs nothing.
func speculationOf(t *kind.ThreadSite) (r speculationRecord) {
	switch t.Status.SpecStoreBypass {
	case "thread mitigated":
		r.StoreBypass = unix.PR_SPEC_DISABLE
	case "thread force mitigated":
		r.StoreBypass = unix.PR_SPEC_FORCE_DISABLE
	}
	switch t.Status.SpecIndirectBranch {
	case "conditional disabled":
		r.IndirectBranch = unix.PR_SPEC_DISABLE
	case "conditional force disabled":
		r.IndirectBranch = unix.PR_SPEC_FORCE_DISABLE
	}
	return r
}

func (r speculationRecord) check() error {
	for _, v := range []uint32{r.StoreBypass, r.IndirectBranch} {
		if v != 0 && v != unix.PR_SPEC_DISABLE && v != unix.PR_SPEC_FORCE_DISABLE {
			return fmt.Errorf("speculation control %#x", v)
		}
	}
	return nil
}

// plan fails on a machine where the control does not exist: the restriction
// would be lost.
func (r speculationRecord) plan(h *kind.Host) []plan.Step {
	var ops []plan.Op
	set := func(which int, v uint32) {
		if v != 0 {
			ops = append(ops, prctlIn(h, unix.PR_SET_SPECULATION_CTRL, plan.Int(which), plan.Int(v)))
		}
	}
	set(unix.PR_SPEC_STORE_BYPASS, r.StoreBypass)
	set(unix.PR_SPEC_INDIRECT_BRANCH, r.IndirectBranch)
	return oneStep(plan.Seal, "switch on its speculation mitigations", ops...)
}
