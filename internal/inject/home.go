package inject

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
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
	fresh   bool // the process was made by this tool
}

const pageSize = 4096

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
	if h.scratch, err = findScratch(s.mem, vmas, h, n); err != nil {
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

// ready sees to it that programs can run in t: that the data is writable. What
// the home thread runs first begins with making it so.
func (s *Space) ready(t *Thread) error {
	h := s.home
	if h == nil || h.booted || t == h.thread {
		return nil
	}
	sl := s.slots[h.thread]
	if sl == nil || sl.running == nil {
		return s.run(h.thread, NewProgram())
	}
	_, _, err := s.awaitEnd(h.thread, sl)
	h.booted = err == nil
	return err
}

// ran takes note that a program in t has ended.
func (h *home) ran(t *Thread) {
	if h != nil && t == h.thread {
		h.booted = true
	}
}

// boot makes the registers begin with making the data writable.
func (s *Space) boot(r *abi.Regs) {
	r.Rip = s.text + s.tr.code.at[pieceBoot]
	r.Rax = unix.SYS_MPROTECT
	r.Rdi, r.Rsi, r.Rdx = s.data.lo, s.data.hi-s.data.lo, unix.PROT_READ|unix.PROT_WRITE
}
