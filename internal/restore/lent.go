package restore

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
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

// bare takes what was lent from every task, and looks whether it is gone.
func (s *session) bare() error {
	if s.opts.Lent == 0 {
		return nil
	}
	var all []*body
	for _, b := range s.bodies {
		if err := s.bareOne(b); err != nil {
			return b.failed(err)
		}
		all = append(all, b)
	}
	for _, b := range all {
		for _, t := range b.all() {
			b.space.End(t)
		}
	}
	for _, b := range all {
		for _, t := range b.all() {
			if err := b.space.Finish(t); err != nil {
				return b.failed(err)
			}
		}
		if err := withoutCaps(b.all()); err != nil {
			return err
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

// bareOne has the threads of a process begin to drop their capabilities.

func (s *session) bareOne(b *body) error {
	none := plan.Call{Nr: unix.SYS_CAPSET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.Buf(abi.CapData(0, 0, 0))}}
	for _, t := range b.all() {
		p := newProgram(s, b)
		if err := p.Add(none, nil); err != nil {
			return err
		}
		if err := b.space.Start(t, p.Inject); err != nil {
			return err
		}
	}
	return nil
}

// withoutCaps asks /proc whether the threads have no capability.
func withoutCaps(threads []*inject.Thread) error {
	dir, err := kernelio.OpenProc(threads[0].PID())
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, t := range threads {
		st, err := dir.ThreadStatus(t.TID())
		if err != nil {
			return err
		}
		if st.CapPrm|st.CapEff|st.CapInh|st.CapAmb != 0 {
			return fmt.Errorf("thread %d still has capabilities: %#x", t.TID(), st.CapPrm)
		}
	}
	return nil
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
	if c, ok := op.(plan.Call); ok && !c.As.IsZero() {
		return s.wear(c.As, f)
	}
	if remembers(op) {
		if r, ok := s.maker(st); ok {
			return s.wear(r, f)
		}
	}
	if s.opts.Elevated && !st.granted {
		return aside(f)
	}
	return f()
}

func (st *step) demands(what string) bool {
	return slices.ContainsFunc(st.Needs, func(n plan.Need) bool { return n.Demand == what })
}
