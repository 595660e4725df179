package inject

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// redZone is what code may use below its stack pointer (System V ABI, AMD64
// supplement, 3.2.2).
const redZone = 128

// Windows of the main stack that may hold the frames: one at every multiple of
// windowStep, from below above its lower end, for a signal handler that runs
// there in the moment before everything is blocked, and over windows bytes.
const (
	below      = 12 << 10
	windowStep = 8 << 10
	windows    = 128 << 10
)

// A scratch begins with a header: a mark, the thread that uses it, the Space
// that it belongs to, and its size.
const (
	scratchMark   = "ckpt scratch\x00\x00\x00\x01"
	scratchHeader = 64
)

var errNoScratch = errors.New("the main stack has no room to spare")

// findScratch finds n bytes in the main stack where nothing lies, aligned
// to 64: near its lower end where it was never written to, or where a tool
// that died left what nobody needs any more, or else right below the stack
// pointer of the main thread. It is never another stack: those of goroutines
// are 2 KiB.
func findScratch(mem *kernelio.TraceeMem, vmas []abi.VMA, h *home, n int) (uint64, error) {
	t := h.thread
	i := slices.IndexFunc(vmas, func(v abi.VMA) bool { return v.Path == "[stack]" })
	if i < 0 || vmas[i].Prot&unix.PROT_WRITE == 0 {
		return 0, errNoScratch
	}
	st := stack{mem: mem, span: span{vmas[i].Start, vmas[i].End}}
	var left map[uint64]leftover
	var err error
	if !h.fresh {
		if left, err = st.leftovers(); err != nil {
			return 0, err
		}
	}
	all := len(left)
	sp := follow(left, &t.own.regs)
	onMain := t.tid == t.PID() && st.has(sp)
	if onMain {
		st.hi = sp - redZone
	}
	if at, err := st.window(left, t, n); at != 0 || err != nil {
		return at, err
	}
	at := (st.hi - uint64(n)) &^ (align - 1)
	if !onMain || all != len(left) || at < st.lo || st.marked(at) {
		return 0, errNoScratch
	}
	return at, nil
}

// stack is the main stack, up to where it is in use.
type stack struct {
	mem *kernelio.TraceeMem
	span
}

// each calls f with the windows that have room for n bytes, until it
// returns false or an error.
func (st *stack) each(n int, f func(at uint64, b []byte) (bool, error)) error {
	b := make([]byte, n)
	first := (st.lo + below + windowStep - 1) &^ (windowStep - 1)
	for at := first; at+uint64(n) <= min(st.hi, st.lo+windows); at += windowStep {
		if _, err := st.mem.ReadAt(b, int64(at)); err != nil {
			return err
		}
		if more, err := f(at, b); !more || err != nil {
			return err
		}
	}
	return nil
}

// leftovers are the windows where tools that died left their scratch.
func (st *stack) leftovers() (map[uint64]leftover, error) {
	left := map[uint64]leftover{}
	err := st.each(scratchHeader+2*frameASize, func(at uint64, b []byte) (bool, error) {
		if l, ok := parseLeftover(b); ok {
			left[at] = l
		}
		return true, nil
	})
	return left, err
}

// window finds one of n bytes that was never used, or else one that a dead
// tool left and nobody needs.
func (st *stack) window(left map[uint64]leftover, t *Thread, n int) (found uint64, err error) {
	err = st.each(n+windowStep, func(at uint64, b []byte) (bool, error) {
		if empty(b) {
			found = at
		}
		return found == 0, nil
	})
	for at, l := range left {
		if found == 0 && l.tid == uint64(t.tid) && n <= windowStep && at+uint64(n) <= st.hi {
			found = at
		}
	}
	return found, err
}

// marked says whether a tool left its scratch around at, as it does when no
// window is free.
func (st *stack) marked(at uint64) bool {
	lo := max(st.lo, at-windowStep)
	b := make([]byte, st.hi-lo)
	_, err := st.mem.ReadAt(b, int64(lo))
	return err != nil || bytes.Contains(b, []byte(scratchMark))
}

func empty(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

// leftover is the scratch of a tool that died: its thread and Space, and
// where frame B leads.
type leftover struct {
	tid, n   uint64
	space    span
	rip, rsp uint64
}

func parseLeftover(b []byte) (l leftover, ok bool) {
	if !bytes.HasPrefix(b, []byte(scratchMark)) || len(b) < scratchHeader+2*frameASize {
		return l, false
	}
	le := binary.LittleEndian
	l.tid, l.space = le.Uint64(b[16:]), span{le.Uint64(b[24:]), le.Uint64(b[32:])}
	l.n = le.Uint64(b[40:])
	l.rip, l.rsp = abi.SigFrameTarget(b[scratchHeader+frameASize:])
	return l, true
}

// follow removes the leftovers that a thread with such registers is still to
// come by: it may be on its way through the frames of one, to what was its
// state when the tool came that left it, and that may have been the way
// through another. It returns the stack pointer at the end of the way.
func follow(left map[uint64]leftover, r *abi.Regs) (rsp uint64) {
	rip, rsp := r.Rip, r.Rsp
	for {
		at, ok := next(left, rip, rsp)
		if !ok {
			return rsp
		}
		rip, rsp = left[at].rip, left[at].rsp
		delete(left, at)
	}
}

// next finds the scratch whose Space the thread is in, or whose frames it is
// between. A thread in a Space has the stack pointer that it came with, which
// may lie in an older scratch.
func next(left map[uint64]leftover, rip, rsp uint64) (uint64, bool) {
	for at, l := range left {
		if l.space.has(rip) {
			return at, true
		}
	}
	for at, l := range left {
		if rsp >= at && rsp < at+l.n {
			return at, true
		}
	}
	return 0, false
}

func (s span) has(addr uint64) bool { return addr >= s.lo && addr < s.hi }

// header is what a scratch of the Space begins with.
func (s *Space) header() []byte {
	b := make([]byte, scratchHeader)
	copy(b, scratchMark)
	le := binary.LittleEndian
	le.PutUint64(b[16:], uint64(s.home.thread.tid))
	le.PutUint64(b[24:], s.lo)
	le.PutUint64(b[32:], s.hi)
	le.PutUint64(b[40:], uint64(len(s.home.before)))
	return b
}

// frame is the signal frame that leads to the context.
func (c *context) frame(restorer uint64) *abi.SigFrame {
	f := &abi.SigFrame{Restorer: restorer, Regs: abi.Restartable(c.fit), Mask: c.mask}
	f.XState = c.xstate
	f.XFeatures, _ = abi.XStateFeatures(c.xstate)
	return f
}

// leaveCritical moves the thread out of a restartable sequence, as the kernel
// would have done when it went on: the sequence was preempted. The kernel
// forgets the sequence when the thread runs anything else (rseq_ip_fixup).
func (s *Space) leaveCritical(t *Thread, c *context) error {
	conf, err := t.Rseq()
	if err != nil || conf.Addr == 0 {
		return nil //nolint:nilerr // a kernel before 5.13 cannot tell, and no C library used it then
	}
	var p [8]byte
	if _, err := s.mem.ReadAt(p[:], int64(conf.Addr+abi.RSeqCSOffset)); err != nil {
		return err
	}
	at := binary.LittleEndian.Uint64(p[:])
	if at == 0 {
		return nil
	}
	var b [abi.SizeofRSeqCS]byte
	if _, err := s.mem.ReadAt(b[:], int64(at)); err != nil {
		return nil //nolint:nilerr // a stale pointer, which the kernel would only clear
	}
	cs := abi.DecodeRSeqCS(b[:])
	if c.regs.Rip-cs.Start < cs.Length {
		c.regs.Rip = cs.Abort
		c.fit.Rip = cs.Abort
	}
	return nil
}
