package inject

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Regs are the general registers that the stopped thread goes on from,
// whatever runs in it in the meantime; of one that goes on with a call, the
// call is the one that the program made (abi.RestartedCall). abi.Restartable
// makes them fit for another process.
func (t *Thread) Regs() (r abi.Regs, err error) {
	err = t.tr.try(func() error {
		if c := t.remembered(); c != nil {
			r = c.fit
			return nil
		}
		if r, err = t.getRegs(); err == nil {
			r, err = t.named(r)
		}
		return err
	})
	return r, err
}

// remembered is what is known of the thread's own state without looking.
func (t *Thread) remembered() *context {
	if t.own != nil {
		return t.own
	}
	return t.kept
}

// named puts the program's own call in the place of restart_syscall.
func (t *Thread) named(r abi.Regs) (abi.Regs, error) {
	if !abi.Restarted(r) {
		return r, nil
	}
	code := make([]byte, abi.CodeBefore+abi.CodeAfter)
	if _, err := unix.PtracePeekText(t.tid, uintptr(r.Rip-abi.CodeBefore), code); err != nil {
		return r, t.fail("reading the code", err)
	}
	return abi.RestartedCall(r, code), nil
}

// SetRegs changes the registers that the stopped thread goes on from.
func (t *Thread) SetRegs(r abi.Regs) error {
	return t.tr.try(func() error {
		if t.own != nil {
			t.own.regs, t.own.fit = r, r
			return nil
		}
		return t.setRegs(r)
	})
}

// XState are its extended registers: an XSAVE area in standard format, cut to
// the features that the thread may use; bytes 464 to 471 hold their mask.
func (t *Thread) XState() (b []byte, err error) {
	err = t.tr.try(func() error {
		if c := t.remembered(); c != nil && c.xstate != nil {
			b = c.xstate
			return nil
		}
		b, err = t.getXState()
		return err
	})
	return b, err
}

// SetXState changes its extended registers to what XState gave, perhaps on
// another processor; features that it has no room for must be unused.
func (t *Thread) SetXState(b []byte) error {
	return t.tr.try(func() error { return t.setXState(b) })
}

// SigMask is the set of signals that it blocks; inside a call such as
// ppoll(2) that puts another mask in place meanwhile, that of before.
func (t *Thread) SigMask() (m abi.SigSet, err error) {
	err = t.tr.try(func() error {
		if c := t.remembered(); c != nil {
			m = c.mask
			return nil
		}
		m, err = kernelio.PtraceGetSigmask(t.tid)
		return t.wrap("reading the signal mask", err)
	})
	return m, err
}

// SetSigMask changes it.
func (t *Thread) SetSigMask(m abi.SigSet) error {
	return t.tr.try(func() error {
		if t.own != nil {
			t.own.mask = m
			return nil
		}
		return t.setMask(m)
	})
}

// PeekSignals gives the pending signals of the thread, or with shared those
// of its process, oldest first.
func (t *Thread) PeekSignals(shared bool) (list []abi.Siginfo, err error) {
	err = t.tr.try(func() error {
		list, err = t.peekSignals(shared)
		return err
	})
	return list, err
}

func (t *Thread) peekSignals(shared bool) (list []abi.Siginfo, err error) {
	var some [32][abi.SizeofSiginfo]byte
	for {
		n, err := kernelio.PtracePeekSignals(t.tid, uint64(len(list)), shared, some[:])
		if err != nil {
			return nil, t.fail("reading the pending signals", err)
		}
		for i := range n {
			si, err := abi.DecodeSiginfo(some[i][:])
			if err != nil {
				return nil, err
			}
			list = append(list, si)
		}
		if n < len(some) {
			return list, nil
		}
	}
}

// Rseq is where the thread registered its restartable sequences.
func (t *Thread) Rseq() (c abi.RSeqConfig, err error) {
	err = t.tr.try(func() error {
		c, err = kernelio.PtraceRseq(t.tid)
		return t.wrap("reading the rseq registration", err)
	})
	return c, err
}

// IOPorts says whether the thread may use any I/O ports (ioperm(2)). That it may
// use all of them (iopl(2)) the kernel does not show.
func (t *Thread) IOPorts() (may bool, err error) {
	err = t.tr.try(func() error {
		may, err = kernelio.PtraceIOPorts(t.tid)
		return t.wrap("reading the permissions of I/O ports", err)
	})
	return may, err
}

// UserDispatch is its configuration of syscall user dispatch.
func (t *Thread) UserDispatch() (c abi.UserDispatch, err error) {
	err = t.tr.try(func() error {
		c, err = kernelio.PtraceDispatch(t.tid)
		return t.wrap("reading the syscall dispatch", err)
	})
	return c, err
}

// Know spares CanInject to read the status of the stopped thread, for one who
// has read it since all threads of its process are stopped.
func (t *Thread) Know(s *abi.Status) {
	t.pid = int(s.Tgid)
	t.known = &status{seccomp: int(s.Seccomp), features: s.X86Features}
}

// CanInject says why no program can run in the stopped thread, or nil: a
// *BarredError. It suspends seccomp filters if there are any and the tool may.
func (t *Thread) CanInject() error {
	return t.tr.try(func() error {
		st, err := t.guards()
		if err != nil {
			return t.gone()
		}
		if err := errors.Join(t.canSyscall(st), t.canReturn(st)); err != nil {
			return &BarredError{err}
		}
		return nil
	})
}

// guards is the status as far as it tells what may be injected.
func (t *Thread) guards() (status, error) {
	if t.known != nil {
		return *t.known, nil
	}
	return readStatus(t.tid)
}

func (t *Thread) canSyscall(st status) error {
	if st.seccomp != 0 && t.opts&SuspendSeccomp == 0 {
		if err := t.SetOptions(t.opts | SuspendSeccomp); err != nil {
			return fmt.Errorf("task %d has a seccomp filter that cannot be suspended: %w", t.tid, err)
		}
	}
	d, err := kernelio.PtraceDispatch(t.tid)
	if err == nil && d.Mode != 0 {
		return fmt.Errorf("task %d dispatches system calls itself (PR_SET_SYSCALL_USER_DISPATCH)", t.tid)
	}
	return nil
}

func (t *Thread) canReturn(st status) error {
	if strings.Contains(st.features, "shstk") {
		return fmt.Errorf("task %d has a shadow stack", t.tid)
	}
	r, err := t.Regs()
	if err == nil && r.Cs != abi.CS64 {
		return fmt.Errorf("task %d runs 32-bit code", t.tid)
	}
	return err
}

func (t *Thread) getRegs() (abi.Regs, error) {
	r, err := kernelio.PtraceGetRegs(t.tid)
	return r, t.wrap("reading the registers", err)
}

func (t *Thread) setRegs(r abi.Regs) error {
	t.kept = nil
	return t.wrap("writing the registers", kernelio.PtraceSetRegs(t.tid, r))
}

func (t *Thread) setMask(m abi.SigSet) error {
	t.kept = nil
	return t.wrap("writing the signal mask", kernelio.PtraceSetSigmask(t.tid, m))
}

func (t *Thread) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return t.fail(what, err)
}

// smooth makes the stop unnoticed, as soon as the thread is stopped: see
// abi.RestartEINTR. Of a thread with a seccomp filter it also rewinds a call
// that the kernel would restart by restart_syscall(2), since filters that do
// not allow that are common.
func (t *Thread) smooth() error {
	t.eintr = nil
	r, err := t.getRegs()
	if err != nil {
		return err
	}
	again, changed := abi.RestartEINTR(r)
	if !changed && !abi.InRestartBlock(r) {
		return nil
	}
	st, err := readStatus(t.tid)
	if err != nil {
		return t.gone()
	}
	if !changed {
		if st.seccomp == 0 {
			return nil
		}
		if r, err = t.named(r); err != nil {
			return err
		}
		return t.setRegs(abi.Restartable(r))
	}
	handler, err := t.handlerDue(st)
	if err != nil || handler {
		return err
	}
	t.eintr = &r
	return t.setRegs(again)
}

// asSmoothed says whether the registers that smooth has written are there: the
// thread is the one that they were written to.
func (t *Thread) asSmoothed() bool {
	if t.eintr == nil {
		return false
	}
	again, _ := abi.RestartEINTR(*t.eintr)
	r, err := t.getRegs()
	return err == nil && r == again
}

// rough takes back what smooth did if a signal with a handler came in the
// meantime: the call has to end in EINTR then, for the sake of those that wait
// in it for the handler to run.
func (t *Thread) rough() error {
	if t.eintr == nil {
		return nil
	}
	st, err := readStatus(t.tid)
	if err != nil {
		return t.gone()
	}
	if due, err := t.handlerDue(st); err != nil || !due {
		return err
	}
	return t.setRegs(*t.eintr)
}

// handlerDue says whether a signal handler will run as soon as the thread
// goes on.
func (t *Thread) handlerDue(st status) (bool, error) {
	mask, err := kernelio.PtraceGetSigmask(t.tid)
	return st.pending&st.caught&^mask != 0, t.wrap("reading the signal mask", err)
}
