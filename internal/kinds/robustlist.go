package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type robustListRecord struct {
	Head uint64 `cbor:"1,keyasint,omitempty"` // address of struct robust_list_head; 0: there is none
}

// RobustList keeps the list of futexes that the kernel releases when the
// thread dies (get_robust_list(2)).
func RobustList() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, robustListRecord]{
		Name: "robustlist",
		At:   plan.Thread,
		Dump: dumpRobustList,
		Plan: robustListRecord.plan,
	})
}

// dumpRobustList asks for another thread's list, which takes the right to
// read it by ptrace.
func dumpRobustList(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (robustListRecord, error) {
	res, err := t.Do(plan.Call{Nr: unix.SYS_GET_ROBUST_LIST, Args: []plan.Arg{plan.Int(t.TID), plan.Out(8), plan.Out(8)}})
	if err != nil {
		return robustListRecord{}, fmt.Errorf("reading the robust futex list: %w", err)
	}
	return robustListRecord{binary.LittleEndian.Uint64(res.Out[0])}, nil
}

func (r robustListRecord) plan(h *kind.Host) []plan.Step {
	if r.Head == 0 {
		return nil
	}
	return oneStep(plan.Arm, fmt.Sprintf("register the robust futex list at %#x", r.Head),
		inTask(h, unix.SYS_SET_ROBUST_LIST, plan.Int(r.Head), plan.Int(abi.SizeofRobustListHead)))
}

// RobustListAt implements kind.KeepsRobustList.
func (r *robustListRecord) RobustListAt() uint64 { return r.Head }
