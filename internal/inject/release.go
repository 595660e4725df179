package inject

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Parked is a thread that is to be released. With Last, no other thread of the
// process is left in the Space by then.
type Parked struct {
	Space  *Space
	Thread *Thread
	Last   bool
}

// Release gives parked threads their state, after the commit, and lets them
// go, in order; but those that are the last of their Space come after all
// others, at the same time, and unmap the memory of the stub, in the way that
// home.go explains. If memory had to be left there the error wraps ErrLeft, and
// the thread runs nevertheless.
func (tr *Tracer) Release(all []Parked) error {
	return tr.try(func() error {
		var errs []error
		var last []*leaving
		for _, p := range all {
			switch {
			case p.Thread.own == nil || p.Space.slots[p.Thread] == nil || p.Space.slots[p.Thread].frame == 0:
				errs = append(errs, fmt.Errorf("releasing task %d, which is not parked", p.Thread.tid))
			case p.Last:
				last = append(last, &leaving{Parked: p})
			default:
				errs = append(errs, p.Thread.setXState(p.Thread.own.xstate), p.Space.release(p.Thread))
			}
		}
		return errors.Join(append(errs, releaseLast(last))...)
	})
}

// leaving is the last thread of a Space, about to unmap it.
type leaving struct {
	Parked
	step *step
	err  error // why the Space could not be unmapped
}

func releaseLast(all []*leaving) error {
	var errs []error
	var steps []*step
	for _, l := range all {
		errs = append(errs, l.Thread.setXState(l.Thread.own.xstate))
		if l.err = l.prepare(); l.err == nil {
			steps = append(steps, l.step)
		}
	}
	stepAll(steps)
	for _, l := range all {
		errs = append(errs, l.leave())
	}
	return errors.Join(errs...)
}

// prepare makes everything ready for the call that unmaps the Space. Whatever
// goes wrong, the thread has registers that lead to its own state.
func (l *leaving) prepare() error {
	s, t := l.Space, l.Thread
	if err := t.CanInject(); err != nil {
		return err
	}
	vmas, err := readMaps(t.tid)
	if err != nil {
		return err
	}
	s.home = &home{thread: t, fresh: true}
	if err := s.prepare(vmas); err != nil {
		return err
	}
	if s.slots[t].stop {
		if err := s.stopSelf(); err != nil {
			return err
		}
	}
	l.step = &step{thread: t, regs: s.unmapping()}
	return nil
}

// leave lets the thread go.
func (l *leaving) leave() error {
	s, t := l.Space, l.Thread
	defer s.mem.Close()
	if l.err == nil {
		l.err = l.step.err
	}
	if l.err == nil && l.step.ret != 0 {
		l.err = os.NewSyscallError("munmap", unix.Errno(-l.step.ret))
	}
	if l.err == nil {
		return s.release(t)
	}
	left := fmt.Errorf("%w %d: %w", ErrLeft, t.PID(), l.err)
	if s.slots[t].stop {
		t.own = nil // the piece "park" stops the process
		return errors.Join(left, t.Detach(0))
	}
	return errors.Join(left, s.release(t))
}

func (s *Space) release(t *Thread) error {
	if err := s.restore(t); err != nil {
		return err
	}
	return t.Detach(0)
}
