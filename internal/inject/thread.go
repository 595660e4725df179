package inject

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Options of a seized thread; what it clones with CLONE_PTRACE inherits them.
type Options uint32

const (
	// ExitKill has the kernel kill the thread when the tool dies.
	ExitKill Options = unix.PTRACE_O_EXITKILL
	// SuspendSeccomp turns its seccomp filters off while it is seized. It
	// demands CAP_SYS_ADMIN.
	SuspendSeccomp Options = unix.PTRACE_O_SUSPEND_SECCOMP
)

// kernelOptions adds what this package relies on: a stop at a system call
// that cannot be taken for a signal, neither here nor by the kernel, which
// would send it to the thread if the tool died (ptrace_report_syscall).
func (o Options) kernelOptions() uintptr { return uintptr(o) | unix.PTRACE_O_TRACESYSGOOD }

// StopKind says how a thread is stopped.
type StopKind uint8

const (
	// Running: not stopped.
	Running StopKind = iota
	// StopEvent is a stop that the tool asked for (PTRACE_EVENT_STOP).
	StopEvent
	// StopGroup is that of a thread whose process was stopped by a signal,
	// SIGSTOP for one. It outlasts the Detach.
	StopGroup
)

// Stop is how a thread stopped. Signal is the one that stopped its process.
type Stop struct {
	Kind   StopKind
	Signal syscall.Signal
}

// Thread is a task that the Tracer seized.
type Thread struct {
	tr   *Tracer
	tid  int
	pid  int // 0 until it is asked for
	opts Options
	stop Stop
	own  *context // what is its own, while its registers are not
	// kept is what context read of the stopped thread, as long as nothing
	// else was written to it; nil: it must be read.
	kept *context
	// known is what somebody read of its status while it was stopped, as far
	// as it tells what may be injected.
	known *status
	// eintr is what its registers were before smooth changed them.
	eintr *abi.Regs
}

// context is what a thread gets back when it has run a program.
type context struct {
	regs   abi.Regs
	fit    abi.Regs // regs as Thread.Regs gives them
	mask   abi.SigSet
	xstate []byte
}

// TID is the thread's id in the tool's PID namespace.
func (t *Thread) TID() int { return t.tid }

// PID is the id of its process (its thread group); 0 if it has ended.
func (t *Thread) PID() int {
	if t.pid == 0 {
		if st, err := readStatus(t.tid); err == nil {
			t.pid = st.tgid
		}
	}
	return t.pid
}

// Stop is how it stopped, by the last WaitStop.
func (t *Thread) Stop() Stop { return t.stop }

// Seize attaches to task tid, which goes on running.
func (tr *Tracer) Seize(tid int, o Options) (*Thread, error) {
	t := &Thread{tr: tr, tid: tid, opts: o}
	err := tr.try(func() error { return t.seize() })
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Thread) seize() error {
	if err := kernelio.PtraceSeize(t.tid, t.opts.kernelOptions()); err != nil {
		return t.explain(err)
	}
	return nil
}

// explain finds out why a task could not be seized: ptrace says EPERM for
// four reasons.
func (t *Thread) explain(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return t.gone()
	}
	st, e := readStatus(t.tid)
	switch {
	case e != nil:
		return t.gone()
	case st.state == 'Z' || st.state == 'X':
		return &ZombieError{TID: t.tid}
	case st.tracer != 0:
		return &TracedError{TID: t.tid, By: st.tracer}
	}
	return fmt.Errorf("seizing task %d: %w", t.tid, err)
}

func (t *Thread) gone() error { return fmt.Errorf("task %d: %w", t.tid, ErrGone) }

// fail names the thread in an error of ptrace. ESRCH means that the thread
// is not stopped; it is if it lives.
func (t *Thread) fail(what string, err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s of task %d: %w", what, t.tid, ErrGone)
	}
	return fmt.Errorf("%s of task %d: %w", what, t.tid, err)
}

// Interrupt asks the thread to stop; WaitStop waits until it has.
func (t *Thread) Interrupt() error {
	return t.tr.try(t.interrupt)
}

func (t *Thread) interrupt() error {
	return t.wrap("interrupting", kernelio.PtraceInterrupt(t.tid))
}

// WaitStop waits until the thread that was interrupted is stopped. Signals
// that were on their way to it are delivered first, so that what it shows is
// the entry of their handler; a call that answers a mere stop with EINTR is
// put back to be made again. It returns ErrDeadline, or an error that wraps
// ErrGone.
func (t *Thread) WaitStop(deadline time.Time) (Stop, error) {
	err := t.tr.try(func() error {
		if err := t.waitEventStop(deadline); err != nil {
			return err
		}
		return t.smooth()
	})
	return t.stop, err
}

func (t *Thread) waitEventStop(deadline time.Time) error {
	for {
		ev, err := t.await(deadline)
		if err != nil {
			return err
		}
		if stopped, err := t.arrive(ev); stopped || err != nil {
			return err
		}
	}
}

// tryStop is WaitStop without waiting.
func (t *Thread) tryStop() (stopped bool, err error) {
	ev, ok, err := t.poll()
	if !ok || err != nil {
		return false, err
	}
	if stopped, err := t.arrive(ev); !stopped || err != nil {
		return false, err
	}
	return true, t.smooth()
}

// arrive takes a stop in. If it is not the one that was asked for it asks
// again, since any trap takes the place of that (ptrace_stop), and lets the
// thread go on.
func (t *Thread) arrive(ev kernelio.TaskEvent) (stopped bool, err error) {
	if ev.Event == unix.PTRACE_EVENT_STOP {
		t.stop = Stop{Kind: StopEvent}
		if sig := syscall.Signal(ev.Signal); sig != unix.SIGTRAP {
			t.stop = Stop{Kind: StopGroup, Signal: sig}
		}
		return true, nil
	}
	if err := t.interrupt(); err != nil {
		return false, err
	}
	return false, t.pass(ev)
}

// pass lets the thread go on from a stop that nobody asked for.
func (t *Thread) pass(ev kernelio.TaskEvent) error {
	sig := ev.Signal
	if ev.Event != 0 || sig&syscallStop != 0 {
		sig = 0
	}
	return t.resume(sig)
}

// syscallStop marks the stops of system calls (PTRACE_O_TRACESYSGOOD).
const syscallStop = 0x80

func (t *Thread) resume(sig int) error {
	t.stop, t.kept = Stop{}, nil
	if err := kernelio.PtraceCont(t.tid, sig); err != nil {
		return t.fail("resuming", err)
	}
	return nil
}

// await waits for the next stop or the end of the thread.
func (t *Thread) await(deadline time.Time) (kernelio.TaskEvent, error) {
	var w waiter
	for {
		ev, ok, err := t.poll()
		if ok || err != nil {
			return ev, err
		}
		if w.pause(); w.expired(deadline) {
			return ev, t.late()
		}
		if w.turns%yields == 0 {
			if err := t.ended(); err != nil {
				return ev, err
			}
		}
	}
}

// late is the error of a thread that did not stop in time.
func (t *Thread) late() error {
	if err := t.ended(); err != nil {
		return err
	}
	return fmt.Errorf("task %d%s: %w", t.tid, where(t.tid), ErrDeadline)
}

// ended returns an error that wraps ErrGone if the thread has ended, also if
// no wait reports it: a leader is reported only when the other threads of its
// process are reaped (delay_group_leader). Any other is reaped first, or its
// parent would not see its end.
func (t *Thread) ended() error {
	st, err := readStatus(t.tid)
	if err == nil && st.state != 'Z' && st.state != 'X' {
		return nil
	}
	if _, _, err := t.poll(); err != nil {
		return err
	}
	return t.gone()
}

// poll looks whether the thread has stopped or ended.
func (t *Thread) poll() (kernelio.TaskEvent, bool, error) {
	ev, ok, err := kernelio.PtraceWait(t.tid, false)
	switch {
	case errors.Is(err, unix.ECHILD):
		return ev, false, t.gone()
	case err != nil:
		return ev, false, t.fail("waiting", err)
	case ok && ev.Exited:
		return ev, false, t.gone()
	}
	return ev, ok, nil
}

// Detach lets the thread go. A thread whose process was stopped stays
// stopped.
func (t *Thread) Detach(sig syscall.Signal) error {
	return t.tr.try(func() error {
		if t.own != nil {
			return fmt.Errorf("detaching task %d, which still runs in a space", t.tid)
		}
		if err := t.rough(); err != nil {
			return err
		}
		return t.wrap("detaching", kernelio.PtraceDetach(t.tid, int(sig)))
	})
}

// SetOptions replaces the options of the stopped thread.
func (t *Thread) SetOptions(o Options) error {
	return t.tr.try(func() error {
		if err := kernelio.PtraceSetOptions(t.tid, o.kernelOptions()); err != nil {
			return t.fail("setting the options", err)
		}
		t.opts = o
		return nil
	})
}
