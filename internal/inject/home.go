package inject

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// How a dump's Space comes and goes
//
// Mapping and unmapping memory are system calls that the target must make
// before it has the Space and after. They are made with two pieces of its own
// code: S, a syscall instruction with a ret after it, and G, the code that
// every C library and the Go runtime have for the return from a signal
// handler, which calls rt_sigreturn (gadget.go). And with two signal frames in
// a place of the main stack where nothing lies (scratch.go):
//
//	frame A: at S, about to unmap the Space, stack pointer at frame B
//	frame B: the thread's own context
//
// Each has the address of G where ret looks for it. The thread is sent to S
// with the registers of an mmap and its stack pointer at frame A, and is
// stopped when the call is made. From then on the tool sets its registers as
// programs need, while the frames stay. Whenever the tool dies the thread goes
// on from where it was, and every way ends at frame A: after the mmap by the
// ret of S, in a program when it sees that the tool is gone, between programs by the piece
// "leave". Frame A unmaps the Space, the ret of S leads to frame B, and the
// thread is where it was stopped. The last munmap of the living tool is that of
// frame A.
//
// As long as other threads run in the Space, frame B is the home thread's way
// out, and a dead tool leaves the Space mapped; nobody could know when the
// last of them has left.
//
// Without S, G or a place for the frames a lone syscall instruction of the
// vdso must do, and a tool that dies within some microseconds leaves a thread
// with foreign registers. Window tells.
type home struct {
	thread  *Thread
	gadgets gadgets
	scratch uint64
	before  []byte // what was in scratch
	booted  bool
	window  string
	sees    bool // the target can look whether the tool lives
}

const pageSize = 4096

// Open makes a Space of size bytes for data in the process of the stopped
// thread t, all of whose threads must be stopped. Close it before t is
// detached.
func Open(t *Thread, size uint64) (*Space, error) {
	s := &Space{tr: t.tr, slots: map[*Thread]*slot{}}
	err := t.tr.try(func() error { return s.open(t, size) })
	if err != nil {
		return nil, fmt.Errorf("running calls in process %d: %w", t.PID(), err)
	}
	return s, nil
}

func (s *Space) open(t *Thread, size uint64) (err error) {
	if err := t.CanInject(); err != nil {
		return err
	}
	if s.mem, err = kernelio.OpenTraceeMem(t.tid); err != nil {
		return err
	}
	if err := s.openIn(t, size); err != nil {
		s.mem.Close()
		return err
	}
	return nil
}

func (s *Space) openIn(t *Thread, size uint64) error {
	vmas, err := readMaps(t.tid)
	if err != nil {
		return err
	}
	size = (size + 2*pageSize - 1) &^ (pageSize - 1)
	if s.lo, err = hole(vmas, pageSize+size); err != nil {
		return err
	}
	s.text, s.hi = s.lo, s.lo+pageSize+size
	s.data = newHeap(s.lo+pageSize, s.hi)
	own, err := t.context(true)
	if err != nil {
		return err
	}
	if err := s.leaveCritical(t, own); err != nil {
		return err
	}
	t.own = own
	if err := s.settle(t, vmas); err != nil {
		t.own = nil
		return err
	}
	return nil
}

// settle maps the Space by the thread and makes it ready for programs.
func (s *Space) settle(t *Thread, vmas []abi.VMA) error {
	s.home = &home{thread: t, sees: t.seesTool()}
	if err := s.prepare(vmas); err != nil {
		return err
	}
	if err := s.mapSelf(); err != nil {
		return s.giveUp(err, s.restore(t))
	}
	_, err := s.mem.WriteAt(s.tr.code.text, int64(s.text))
	if err == nil {
		err = s.run(t, NewProgram()) // boots
	}
	if err != nil {
		return s.giveUp(err, s.close())
	}
	return nil
}

func (s *Space) run(t *Thread, p *Program) error {
	if err := s.start(t, p); err != nil {
		return err
	}
	return s.finish(t)
}

// seesTool says whether the target may look for the tool by its PID: it lives
// in the same PID namespace, and no filter would take offence when it is back
// in force.
func (t *Thread) seesTool() bool {
	mine, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return false
	}
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", t.tid))
	return err == nil && its == mine && t.opts&SuspendSeccomp == 0
}

// giveUp joins an error with that of putting the thread back after it.
func (s *Space) giveUp(err, back error) error {
	if back != nil {
		return fmt.Errorf("%w; and putting it back: %w", err, back)
	}
	return err
}

// Window is empty if the target survives the death of the tool at any
// moment, or else says why it may not.
func (s *Space) Window() string {
	if s.home == nil {
		return ""
	}
	return s.home.window
}

// prepare finds what a step needs and writes the frames.
func (s *Space) prepare(vmas []abi.VMA) error {
	h := s.home
	var err error
	if h.gadgets, err = s.tr.findGadgets(s.mem, vmas); err != nil {
		h.window = err.Error()
		return s.lone(vmas)
	}
	frameB := h.thread.own.frame(h.gadgets.restorer)
	n := scratchHeader + frameASize + frameB.Len()
	if h.scratch, err = findScratch(s.mem, vmas, h.thread, n); err != nil {
		h.window = err.Error()
		return s.lone(vmas)
	}
	h.before = make([]byte, n)
	if _, err := s.mem.ReadAt(h.before, int64(h.scratch)); err != nil {
		return err
	}
	b := append(s.header(), s.frameA().Encode(h.frameA())...)
	b = append(b, make([]byte, scratchHeader+frameASize-len(b))...)
	b = append(b, frameB.Encode(h.frameB())...)
	_, err = s.mem.WriteAt(b, int64(h.scratch))
	return err
}

// lone makes do with the vdso.
func (s *Space) lone(vmas []abi.VMA) error {
	at, err := vdsoSyscall(s.mem, vmas)
	s.home.gadgets = gadgets{syscall: at}
	s.home.scratch = 0
	return err
}

// frameASize is that of a frame without extended registers, rounded so that
// the frame after it is aligned.
const frameASize = (abi.SigFrameXState + 63) &^ 63

func (h *home) frameA() uint64 { return h.scratch + scratchHeader }

func (h *home) frameB() uint64 { return h.frameA() + frameASize }

// frameA is the context that unmaps the Space.
func (s *Space) frameA() *abi.SigFrame {
	return &abi.SigFrame{Restorer: s.home.gadgets.restorer, Regs: s.unmapping(), Mask: allSignals}
}

// unmapping is the registers before the last call.
func (s *Space) unmapping() abi.Regs {
	r := s.home.call(unix.SYS_MUNMAP, s.lo, s.hi-s.lo)
	if s.home.scratch != 0 {
		r.Rsp = s.home.frameB()
	}
	return r
}

// call is the thread's registers changed such that it makes a call at S.
func (h *home) call(nr uint64, args ...uint64) abi.Regs {
	r := h.thread.own.regs
	r.OrigRax = abi.NoSyscall
	r.Rip = h.gadgets.syscall
	r.Rax = nr
	for i, p := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9}[:len(args)] {
		*p = args[i]
	}
	return r
}

func (s *Space) mapSelf() error {
	h := s.home
	r := h.call(unix.SYS_MMAP, s.lo, s.hi-s.lo, unix.PROT_READ|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE|unix.MAP_NORESERVE, ^uint64(0), 0)
	r.Rsp = s.wayOut(r)
	ret, err := s.step(r)
	if err != nil {
		return err
	}
	if ret != s.lo {
		return fmt.Errorf("mapping %d bytes in the target: %w", s.hi-s.lo, os.NewSyscallError("mmap", unix.Errno(-ret)))
	}
	return nil
}

// boot makes the registers begin with making the data writable.
func (s *Space) boot(r *abi.Regs) {
	r.Rip = s.text + s.tr.code.at[pieceBoot]
	r.Rax = unix.SYS_MPROTECT
	r.Rdi, r.Rsi, r.Rdx = s.data.lo, s.data.hi-s.data.lo, unix.PROT_READ|unix.PROT_WRITE
}

// Close puts everything back as it was. The thread of Open and all others
// that ran programs are stopped as before; those that have ended meanwhile are
// passed over.
func (s *Space) Close() error {
	return s.tr.try(func() error {
		defer s.mem.Close()
		var all error
		for t := range s.slots {
			if t.own != nil && (s.home == nil || t != s.home.thread) {
				all = errors.Join(all, alive(s.restore(t)))
			}
		}
		if s.home == nil {
			return all
		}
		return errors.Join(all, alive(s.close()))
	})
}

// alive drops the error that a thread has ended.
func alive(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

func (s *Space) close() error {
	h := s.home
	if h.thread.own == nil { // it healed: nothing is left to put back
		return nil
	}
	ret, err := s.step(s.unmapping())
	if err == nil && ret != 0 {
		err = os.NewSyscallError("munmap", unix.Errno(-ret))
	}
	if err != nil {
		return fmt.Errorf("taking the space of process %d away: %w", h.thread.PID(), err)
	}
	return s.restore(h.thread)
}

// restore gives the thread its own state back, the mask first: until its
// registers are its own, it would heal.
func (s *Space) restore(t *Thread) error {
	if err := t.setMask(t.own.mask); err != nil {
		return err
	}
	if err := t.setRegs(t.own.regs); err != nil {
		return err
	}
	t.own = nil
	delete(s.slots, t)
	if h := s.home; h != nil && t == h.thread && h.before != nil {
		_, err := s.mem.WriteAt(h.before, int64(h.scratch))
		return err
	}
	return nil
}
