package inject

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// AdoptThread gives the handle of a thread that a program in the same
// address space made by clone3 with CLONE_PTRACE. It waits until the new
// thread has stopped, which it does before its first instruction. If it was Born
// with a program, that is then started.
func (s *Space) AdoptThread(tid int, born *Program) (t *Thread, err error) {
	err = s.tr.try(func() error {
		if t, err = s.adopt(tid); err != nil || born == nil {
			return err
		}
		t.own = s.anyones()
		return s.bear(t, &running{p: born, control: born.base - controlSize, size: born.size, span: born.size}, true)
	})
	return t, err
}

// AdoptProcess is AdoptThread for a process with an address space of its own,
// made while s was as it is now. Its Space has the same addresses.
func (s *Space) AdoptProcess(tid int, born *Program) (n *Space, t *Thread, err error) {
	err = s.tr.try(func() error {
		if t, err = s.adopt(tid); err != nil {
			return err
		}
		t.pid = tid
		if n = s.fork(tid); born == nil {
			return nil
		}
		t.own = s.anyones()
		return n.bear(t, &running{p: born, control: born.base - controlSize, size: born.size}, false)
	})
	return n, t, err
}

// anyones is what some thread has of its own: of a restore, all have the same but
// for the registers that every program sets.
func (s *Space) anyones() *context {
	for t := range s.slots {
		if t.own != nil {
			c := *t.own
			return &c
		}
	}
	return nil
}

// bear lets a new thread, which stands where it was made with the mask of its
// cloner, go on with what it was born with. It finds that by itself in its copy
// of the program that made it; but one that shares the memory is shown, since that
// program may be another by now.
func (s *Space) bear(t *Thread, run *running, shares bool) error {
	if t.own == nil {
		return fmt.Errorf("task %d was made by nobody", t.tid)
	}
	if shares {
		if err := t.setRegs(s.entry(t, run)); err != nil {
			return err
		}
	}
	s.slots[t] = &slot{running: run, blocked: allButTraps}
	return t.resume(0)
}

func (s *Space) adopt(tid int) (*Thread, error) {
	t := &Thread{tr: s.tr, tid: tid, opts: ExitKill}
	for {
		ev, err := t.take()
		if err != nil {
			return nil, err
		}
		if stopped, err := t.arrive(ev); stopped || err != nil {
			return t, err
		}
	}
}

// fork is the Space of a process that was forked from that of s. What the
// threads of s had there is free: they are not in the copy.
func (s *Space) fork(pid int) *Space {
	n := *s
	n.mem = kernelio.LaterTraceeMem(pid)
	n.data = newHeap(s.data.lo, s.data.hi)
	n.slots = map[*Thread]*slot{}
	return &n
}

// Park prepares the stopped thread for the commit: whenever the tool dies from
// now on, it takes on the state if the barrier was committed, and else ends
// its process. The state is made fit by abi.Restartable first if it came from
// a stopped thread. Segment bases and all that is not in a TaskState must have
// been set before, by programs and SetRegs.
//
// With stop, the process is to be a stopped one (SIGSTOP): true for one thread
// of it, the one that will be released last.
func (s *Space) Park(t *Thread, st abi.TaskState, stop bool) error {
	return s.tr.try(func() error { return s.park(t, st, stop) })
}

func (s *Space) park(t *Thread, st abi.TaskState, stop bool) error {
	if s.barrier == 0 {
		return fmt.Errorf("parking task %d in a space without a barrier", t.tid)
	}
	sl, err := s.slotOf(t)
	if err != nil {
		return err
	}
	c := context{regs: st.Regs, fit: st.Regs, mask: st.Mask, xstate: st.XState}
	if err := s.writeFrame(sl, c.frame(0)); err != nil {
		return err
	}
	r := st.Regs // the segment bases, which no frame holds
	r.OrigRax = abi.NoSyscall
	r.Rip, r.R12, r.R14 = s.text+s.tr.code.at[piecePark], sl.frame, s.barrier
	if sl.stop = stop; stop {
		r.R15 = uint64(unix.SIGSTOP)
	} else {
		r.R15 = 0
	}
	if err := t.setRegs(r); err != nil {
		return err
	}
	if err := s.block(t, sl, allSignals); err != nil {
		return err
	}
	t.own = &c
	return nil
}

// stopSelf has the thread send SIGSTOP to its own process. It takes effect in
// the next step, and Detach leaves the process stopped.
func (s *Space) stopSelf() error {
	r := s.home.call(unix.SYS_GETPID)
	r.Rsp = s.wayOut(r)
	pid, err := s.step(r)
	if err != nil {
		return err
	}
	r = s.home.call(unix.SYS_KILL, pid, uint64(unix.SIGSTOP))
	r.Rsp = s.wayOut(r)
	_, err = s.step(r)
	return err
}

// wayOut is the stack pointer for a call at S that the munmap comes after.
func (s *Space) wayOut(r abi.Regs) uint64 {
	if s.home.scratch == 0 {
		return r.Rsp
	}
	return s.home.frameA()
}
