package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type ioPrioRecord struct {
	Prio uint16 `cbor:"1,keyasint,omitempty"` // class << 13 | level; class 0: follows nice
}

// Parts of an I/O priority (linux/ioprio.h).
const (
	ioprioWhoProcess = 1
	ioprioClassShift = 13
	ioprioClassRT    = 1
	ioprioClassIdle  = 3
)

// IOPrio keeps a thread's I/O scheduling class and priority (ioprio_set(2)).
func IOPrio() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, ioPrioRecord]{
		Name:  "ioprio",
		At:    plan.Thread,
		Dump:  dumpIOPrio,
		Check: ioPrioRecord.check,
		Plan:  ioPrioRecord.plan,
	})
}

// dumpIOPrio treats a priority of class 0 as none, whatever its level: the
// kernel fills the level in from nice.
func dumpIOPrio(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (ioPrioRecord, error) {
	res, err := t.Do(plan.Call{Nr: unix.SYS_IOPRIO_GET, Args: []plan.Arg{plan.Int(ioprioWhoProcess), plan.Int(t.TID)}})
	if err != nil {
		return ioPrioRecord{}, fmt.Errorf("reading the I/O priority: %w", err)
	}
	if res.Ret>>ioprioClassShift == 0 {
		return ioPrioRecord{}, nil
	}
	return ioPrioRecord{uint16(res.Ret)}, nil
}

func (r ioPrioRecord) check() error {
	class := r.Prio >> ioprioClassShift
	if class > ioprioClassIdle || class == 0 && r.Prio != 0 {
		return fmt.Errorf("I/O priority %#x", r.Prio)
	}
	return nil
}

func (r ioPrioRecord) plan(h *kind.Host) []plan.Step {
	if r.Prio == h.Caller.Born.IOPrio {
		return nil
	}
	s := plan.Step{Stage: plan.Arm, Text: fmt.Sprintf("set the I/O priority to class %d", r.Prio>>ioprioClassShift),
		Ops: []plan.Op{inTask(h, unix.SYS_IOPRIO_SET, plan.Int(ioprioWhoProcess), plan.Int(0), plan.Int(r.Prio))}}
	if r.Prio>>ioprioClassShift == ioprioClassRT {
		s.Needs = []plan.Need{{Demand: "sched", Why: "real-time I/O priority"}}
	}
	return []plan.Step{s}
}
