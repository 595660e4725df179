package inject

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// step has the home thread make one call, at S, and stops it right after.
// It goes by the stop at the entry of the call: a single step would end in a
// SIGTRAP, and would leave its trap flag behind if the tool died.
func (s *Space) step(r abi.Regs) (ret uint64, err error) {
	t := s.home.thread
	if err := t.setRegs(r); err != nil {
		return 0, err
	}
	// Only now: before, a death of the tool would leave everything blocked.
	if err := t.setMask(allSignals); err != nil {
		return 0, err
	}
	deadline := time.Now().Add(stopTime)
	if err := t.untilCall(deadline); err != nil {
		return 0, err
	}
	if err := kernelio.PtraceInterrupt(t.tid); err != nil {
		return 0, t.fail("interrupting", err)
	}
	if err := t.resume(0); err != nil {
		return 0, err
	}
	if err := t.waitEventStop(deadline); err != nil {
		return 0, err
	}
	after, err := t.getRegs()
	if err == nil && after.Rip != r.Rip+syscallSize {
		err = fmt.Errorf("task %d stopped at %#x and not after the call at %#x", t.tid, after.Rip, r.Rip)
	}
	return after.Rax, err
}

// untilCall lets the thread run until it is about to make a system call.
func (t *Thread) untilCall(deadline time.Time) error {
	for sig := 0; ; {
		if err := kernelio.PtraceSyscall(t.tid, sig); err != nil {
			return t.fail("resuming", err)
		}
		ev, err := t.await(deadline)
		if err != nil {
			return err
		}
		if ev.Signal == int(unix.SIGTRAP)|syscallStop {
			return nil
		}
		if sig = ev.Signal; ev.Event != 0 {
			sig = 0
		}
	}
}
