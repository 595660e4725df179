package inject

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// step is one call by the home thread of a Space, at S, after which it is
// stopped. It goes by the stop at the entry of the call: a single step would
// end in a SIGTRAP, and would leave its trap flag behind if the tool died.
type step struct {
	thread *Thread
	regs   abi.Regs // that make the call
	ret    uint64
	err    error
}

// step makes one call.
func (s *Space) step(r abi.Regs) (ret uint64, err error) {
	st := &step{thread: s.home.thread, regs: r}
	stepAll([]*step{st})
	return st.ret, st.err
}

// stepAll makes all calls at the same time: a thread takes longer to wake up
// and to stop than to do anything else.
func stepAll(all []*step) {
	deadline := time.Now().Add(stopTime)
	for _, st := range all {
		st.err = st.begin()
	}
	for _, part := range []func(*step, time.Time) error{(*step).enter, (*step).end} {
		for _, st := range all {
			if st.err == nil {
				st.err = part(st, deadline)
			}
		}
	}
}

// begin lets the thread run until it is about to make the call.
func (st *step) begin() error {
	t := st.thread
	if err := t.setRegs(st.regs); err != nil {
		return err
	}
	// Only now: before, a death of the tool would leave everything blocked.
	if err := t.setMask(allSignals); err != nil {
		return err
	}
	return t.untilCall(0)
}

// untilCall lets the thread run until its next stop, that of a system call.
func (t *Thread) untilCall(sig int) error {
	return t.wrap("resuming", kernelio.PtraceSyscall(t.tid, sig))
}

// enter waits for the stop before the call, and lets the thread make it and
// stop.
func (st *step) enter(deadline time.Time) error {
	t := st.thread
	for {
		ev, err := t.await(deadline)
		if err != nil {
			return err
		}
		if ev.Signal == int(unix.SIGTRAP)|syscallStop {
			break
		}
		sig := ev.Signal
		if ev.Event != 0 {
			sig = 0
		}
		if err := t.untilCall(sig); err != nil {
			return err
		}
	}
	if err := kernelio.PtraceInterrupt(t.tid); err != nil {
		return t.fail("interrupting", err)
	}
	return t.resume(0)
}

// end waits until the call is made.
func (st *step) end(deadline time.Time) error {
	t := st.thread
	if err := t.waitEventStop(deadline); err != nil {
		return err
	}
	after, err := t.getRegs()
	if err == nil && after.Rip != st.regs.Rip+syscallSize {
		err = fmt.Errorf("task %d stopped at %#x and not after the call at %#x", t.tid, after.Rip, st.regs.Rip)
	}
	st.ret = after.Rax
	return err
}
