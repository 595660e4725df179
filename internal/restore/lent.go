package restore

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// lent runs f on the tracer's thread with what rstr was lent effective.
func (s *session) lent(f func() error) error {
	if s.opts.Lent == 0 {
		return f()
	}
	return kernelio.WithEffective(s.opts.Lent, f)
}

// ambient is what the stub, and so every task, is born with of it.
func (s *session) ambient() (out []uintptr) {
	for n := range 64 {
		if s.opts.Lent.Has(n) {
			out = append(out, uintptr(n))
		}
	}
	return out
}

// bare takes what was lent from every task, all at the same time, and has each
// ask the kernel whether it is gone.
func (s *session) bare() error {
	if s.opts.Lent == 0 {
		return nil
	}
	var all []*baring
	for _, b := range s.bodies {
		for _, t := range b.all() {
			x, err := s.startBare(b, t)
			if err != nil {
				return b.failed(err)
			}
			all = append(all, x)
		}
	}
	for _, x := range all {
		x.body.space.End(x.thread)
	}
	for _, x := range all {
		if err := x.finish(); err != nil {
			return fmt.Errorf("task %d: %w", x.thread.TID(), err)
		}
	}
	return nil
}

// all are the threads of a process, its leader first.
func (b *body) all() []*inject.Thread {
	threads := []*inject.Thread{b.leader}
	for _, t := range b.threads {
		if t != b.leader {
			threads = append(threads, t)
		}
	}
	return threads
}

// baring is a thread that drops its capabilities.
type baring struct {
	body   *body
	thread *inject.Thread
	prog   *calls.Program
}

func (s *session) startBare(b *body, t *inject.Thread) (*baring, error) {
	none := abi.CapData(0, 0, 0)
	p := newProgram(s, b)
	for _, c := range []plan.Call{
		{Nr: unix.SYS_CAPSET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.Buf(none)}},
		{Nr: unix.SYS_CAPGET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.InOut(bytes.Repeat([]byte{0xff}, len(none)))},
			Expect: []plan.Field{{Want: none, Name: "capabilities"}}},
	} {
		if err := p.Add(c, nil); err != nil {
			return nil, err
		}
	}
	return &baring{b, t, p}, b.space.Start(t, p.Inject)
}

func (x *baring) finish() error {
	if err := x.body.space.Finish(x.thread); err != nil {
		return err
	}
	_, err := x.prog.Check()
	return err
}

// giveUp takes from rstr itself what was lent, in every thread.
func (s *session) giveUp() error {
	if s.opts.Lent == 0 {
		return nil
	}
	own, err := kernelio.OwnCredentials()
	if err != nil {
		return err
	}
	return kernelio.Drop(own.UID.Real, own.GID.Real, own.Groups, 0)
}

// doing runs a step's operation in the tool, as who is to have done it.
func (s *session) doing(st *step, op plan.Op, f func() error) error {
	c, ok := op.(plan.Call)
	if ok && !c.As.IsZero() {
		return s.wear(c.As, f)
	}
	if ok && s.makerOf(c) != nil {
		return f()
	}
	if remembers(op) {
		if r, ok := s.maker(st); ok {
			return s.wear(r, f)
		}
	}
	if !s.opts.Elevated {
		return f()
	}
	if hidden := s.hidden(op); hidden != nil {
		return s.reach(op.(plan.Call), hidden)
	}
	if !st.granted || namesPath(op) {
		return aside(f)
	}
	if err := s.trueTo(op); err != nil {
		return err
	}
	return f()
}

func (st *step) demands(what string) bool {
	return slices.ContainsFunc(st.Needs, func(n plan.Need) bool { return n.Demand == what })
}
