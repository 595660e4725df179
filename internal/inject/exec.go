package inject

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Exec has the stopped thread t, the only one of its process, execute the file
// of its descriptor fd, and makes the Space anew, at the same addresses, in the
// address space that comes of it. Not an instruction of the file is run. What
// stays of it is what PR_SET_MM_MAP gives only to those with a capability: the
// link /proc/PID/exe. Descriptors that close on exec are closed, and the
// barrier is to be mapped again (MapBarrier).
func (s *Space) Exec(t *Thread, fd int) error {
	return s.tr.try(func() error {
		if err := s.exec(t, fd); err != nil {
			return fmt.Errorf("executing a file in task %d: %w", t.tid, err)
		}
		return nil
	})
}

func (s *Space) exec(t *Thread, fd int) error {
	text := make([]byte, s.data.lo-s.lo)
	if _, err := s.mem.ReadAt(text, int64(s.lo)); err != nil {
		return err
	}
	if err := kernelio.PtraceSetOptions(t.tid, t.opts.kernelOptions()|unix.PTRACE_O_TRACEEXEC); err != nil {
		return t.fail("setting the options", err)
	}
	p := NewProgram()
	empty := p.Buf([]byte{0})
	argv := p.Buf(make([]byte, 16))
	p.Link(argv, 0, empty, 0)
	p.Call(unix.SYS_EXECVEAT, N(fd), empty.Ptr(0), argv.Ptr(0), N(0), N(unix.AT_EMPTY_PATH))
	if err := s.start(t, p); err != nil {
		return err
	}
	if err := s.awaitExec(t); err != nil {
		return err
	}
	if err := kernelio.PtraceSetOptions(t.tid, t.opts.kernelOptions()); err != nil {
		return t.fail("setting the options", err)
	}
	return s.settleAgain(t, text)
}

// awaitExec waits until the thread stands before the first instruction of what
// it has executed, or until its call has failed.
func (s *Space) awaitExec(t *Thread) error {
	deadline := time.Now().Add(programTime)
	var w waiter
	var state [8]byte
	for {
		ev, stopped, err := t.poll()
		switch {
		case err != nil:
			return err
		case stopped && ev.Event == unix.PTRACE_EVENT_EXEC:
			return t.leaveExec(deadline)
		case stopped:
			if err := t.pass(ev); err != nil {
				return err
			}
		}
		if _, err := s.mem.ReadAt(state[:], int64(s.slots[t].running.control)); err == nil && state[0] != 0 {
			return s.finish(t)
		}
		if w.pause(); w.expired(deadline) {
			return t.late()
		}
	}
}

// leaveExec has the thread end its call, so that it stops in front of its first
// instruction.
func (t *Thread) leaveExec(deadline time.Time) error {
	if err := t.interrupt(); err != nil {
		return err
	}
	if err := t.resume(0); err != nil {
		return err
	}
	return t.waitEventStop(deadline)
}

// settleAgain maps what Range covers, and puts the code there.
func (s *Space) settleAgain(t *Thread, text []byte) error {
	mem, err := kernelio.OpenTraceeMem(t.tid)
	if err != nil {
		return err
	}
	s.mem.Close()
	s.mem = mem
	s.data = newHeap(s.data.lo, s.data.hi)
	s.slots = map[*Thread]*slot{}
	vmas, err := readMaps(t.tid)
	if err != nil {
		return err
	}
	if t.own, err = t.context(false); err != nil {
		return err
	}
	s.home = &home{thread: t}
	defer func() { s.home = nil }()
	if err := s.lone(vmas); err != nil {
		return err
	}
	for _, m := range []struct{ lo, hi, prot uint64 }{
		{s.lo, s.data.lo, unix.PROT_READ | unix.PROT_EXEC},
		{s.data.lo, s.data.hi, unix.PROT_READ | unix.PROT_WRITE},
	} {
		if err := s.mapAt(m.lo, m.hi, m.prot); err != nil {
			return err
		}
	}
	_, err = s.mem.WriteAt(text, int64(s.lo))
	return err
}

func (s *Space) mapAt(lo, hi, prot uint64) error {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE | unix.MAP_NORESERVE
	ret, err := s.step(s.home.call(unix.SYS_MMAP, lo, hi-lo, prot, flags, ^uint64(0), 0))
	if err == nil && ret != lo {
		err = fmt.Errorf("mapping %d bytes at %x: %w", hi-lo, lo, os.NewSyscallError("mmap", unix.Errno(-ret)))
	}
	return err
}

// MapBarrier maps the barrier, whose descriptor the process has as number fd,
// in the thread's process after an Exec, and closes the descriptor.
func (s *Space) MapBarrier(t *Thread, fd int) error {
	p := NewProgram()
	s.mapBarrier(p, fd)
	return s.Run(t, p)
}

func (s *Space) mapBarrier(p *Program, fd int) {
	s.barrier = s.hi - pageSize
	h := p.Call(unix.SYS_MMAP, N(s.barrier), N(pageSize), N(unix.PROT_READ), N(unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE), N(fd), N(0))
	p.MustEqual(h, s.barrier)
	p.Call(unix.SYS_CLOSE, N(fd))
}

// FD is the tool's read-only descriptor of the barrier.
func (b *Barrier) FD() int { return int(b.ro.Fd()) }
