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

// bareAll takes what was lent from every task that has not given it up by
// itself, all at the same time.
func (s *session) bareAll() error {
	if s.opts.Lent == 0 {
		return nil
	}
	var busy []*doing
	for _, b := range s.bodies {
		for _, t := range b.all() {
			if s.bared[t] {
				continue
			}
			p, err := s.compiled(b, bare())
			if err == nil {
				err = b.space.Start(t, p.Inject)
			}
			if err != nil {
				return b.failed(err)
			}
			busy = append(busy, &doing{b, t, p})
		}
	}
	return s.finishAll(busy)
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

// bare are the calls by which a thread drops all capabilities, and asks the
// kernel whether they are gone.
func bare() []plan.Call {
	none := abi.CapData(0, 0, 0)
	return []plan.Call{
		{Nr: unix.SYS_CAPSET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.Buf(none)}},
		{Nr: unix.SYS_CAPGET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.InOut(bytes.Repeat([]byte{0xff}, len(none)))},
			Expect: []plan.Field{{Want: none, Name: "capabilities"}}},
	}
}

// compiled is a program of calls.
func (s *session) compiled(b *body, cs []plan.Call) (*calls.Program, error) {
	p := newProgram(s, b)
	for _, c := range cs {
		if err := p.Add(c, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// doing is a thread that does something; nil: nothing.
type doing struct {
	body   *body
	thread *inject.Thread
	prog   *calls.Program
}

// finishAll waits for threads, which all do at the same time what makes an end
// of their growing.
func (s *session) finishAll(busy []*doing) error {
	busy = slices.DeleteFunc(busy, func(d *doing) bool { return d.prog == nil })
	for _, d := range busy {
		d.body.space.End(d.thread)
	}
	for _, d := range busy {
		if err := d.finish(); err != nil {
			return fmt.Errorf("task %d: %w", d.thread.TID(), err)
		}
		s.bared[d.thread] = true
	}
	return nil
}

func (d *doing) finish() error {
	if err := d.body.space.Finish(d.thread); err != nil {
		return err
	}
	_, err := d.prog.Check()
	return err
}

// giveUp takes from rstr itself what was lent, in every thread.
func (s *session) giveUp() error {
	if s.opts.Lent == 0 {
		return nil
	}
	return kernelio.GiveUp()
}

// act runs a step's operation in the tool, as who is to have done it.
func (s *session) act(st *step, op plan.Op, f func() error) error {
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
