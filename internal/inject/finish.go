package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
)

// End waits until the program that was started in the thread has ended, and
// has the thread stop. If each of many threads has its End before the first
// Finish, they stop at the same time. Errors are left to Finish.
func (s *Space) End(t *Thread) {
	s.tr.Do(func() {
		if sl := s.slots[t]; sl != nil && sl.running != nil {
			s.end(t, sl)
		}
	})
}

func (s *Space) end(t *Thread, sl *slot) {
	run := sl.running
	if run.ended {
		return
	}
	run.ended = true
	if sl.traps(run.p) {
		run.err = s.awaitTrap(t, run)
		return
	}
	if run.state, run.last, run.err = s.awaitEnd(t, sl); run.err == nil {
		run.err = t.interrupt()
	}
}

// Finish waits until the program that was started in the thread has ended and
// the thread has stopped.
func (s *Space) Finish(t *Thread) error {
	return s.tr.try(func() error { return s.finish(t) })
}

func (s *Space) finish(t *Thread) error {
	sl := s.slots[t]
	if sl == nil || sl.running == nil {
		return fmt.Errorf("task %d runs no program", t.tid)
	}
	run := sl.running
	defer func() {
		sl.running = nil
		if run.span > 0 {
			s.data.give(run.control, run.span)
		}
	}()
	s.end(t, sl)
	err := run.err
	if err == nil && !sl.traps(run.p) {
		s.home.ran(t)
		err = s.halted(t, sl)
	}
	if errors.Is(err, ErrHealed) || errors.Is(err, ErrGone) {
		t.own, sl.blocked = nil, 0 // the thread has it back, or nobody has
	}
	if err != nil {
		return err
	}
	if run.image == nil {
		run.image = make([]byte, run.size-controlSize)
		if _, err := s.mem.ReadAt(run.image, int64(run.addr())); err != nil {
			return err
		}
	}
	return run.p.done(run.image, run.last, run.state == stateFailed)
}

// awaitEnd waits for the control block to say that the program has ended,
// meanwhile letting the thread go on from stops that nobody asked for: that
// of SIGCONT, for one.
func (s *Space) awaitEnd(t *Thread, sl *slot) (state, last uint64, err error) {
	var w waiter
	deadline := time.Now().Add(programTime)
	var b [16]byte
	for {
		if _, err := s.mem.ReadAt(b[:], int64(sl.running.control)); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) { // it has no memory any more: it is about to end
				_, err := t.await(time.Now().Add(stopTime))
				return 0, 0, errors.Join(t.gone(), err)
			}
			return 0, 0, fmt.Errorf("task %d: %w (%w)", t.tid, ErrHealed, err)
		}
		state, last = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
		if state != 0 {
			return state, last, nil
		}
		if err := s.nudge(t, &w); err != nil {
			return 0, 0, err
		}
		if w.expired(deadline) {
			err := s.halt(t, sl)
			return 0, 0, errors.Join(fmt.Errorf("a program in task %d: %w", t.tid, ErrDeadline), err)
		}
	}
}

// nudge is done between two looks at the control block.
func (s *Space) nudge(t *Thread, w *waiter) error {
	w.pause()
	if w.turns%16 != 0 && w.turns < yields {
		return nil
	}
	ev, ok, err := t.poll()
	if err != nil || !ok {
		return err
	}
	return t.pass(ev)
}

// halt stops the thread.
func (s *Space) halt(t *Thread, sl *slot) error {
	if err := t.interrupt(); err != nil {
		return err
	}
	return s.halted(t, sl)
}

// halted waits until the thread that has ended its program is stopped, and
// sees to it that it would leave at once if the tool died.
func (s *Space) halted(t *Thread, sl *slot) error {
	if err := t.waitEventStop(time.Now().Add(stopTime)); err != nil {
		return err
	}
	if sl.leave == 0 {
		return nil // nor has it left
	}
	r, err := t.getRegs()
	if err != nil {
		return err
	}
	if r.Rip < s.lo || r.Rip >= s.data.lo {
		return fmt.Errorf("task %d: %w", t.tid, ErrHealed)
	}
	return t.setRegs(s.leaving(r, sl))
}

// leaving is registers with which the thread leaves at once.
func (s *Space) leaving(r abi.Regs, sl *slot) abi.Regs {
	r.Rip, r.R12, r.OrigRax = s.text+s.tr.code.at[pieceLeave], sl.leave, abi.NoSyscall
	return r
}

// programTime is how long a program may run. None of the calls that a dump
// or a restore makes waits for anybody.
const programTime = 30 * time.Second

// stopTime is how long a thread may take to stop that has nothing to do but
// that.
const stopTime = 10 * time.Second
