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

// Windows of the main stack that may hold the frames: from below above its
// lower end, for a signal handler that runs there in the moment before
// everything is blocked, one every windowStep, in the first windows bytes.
const (
	below      = 12 << 10
	windowStep = 16 << 10
	windows    = 128 << 10
)

// A scratch begins with a header: a mark, the thread that uses it and the
// Space that it belongs to.
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
func findScratch(mem *kernelio.TraceeMem, vmas []abi.VMA, t *Thread, n int) (uint64, error) {
	i := slices.IndexFunc(vmas, func(v abi.VMA) bool { return v.Path == "[stack]" })
	if i < 0 || vmas[i].Prot&unix.PROT_WRITE == 0 {
		return 0, errNoScratch
	}
	stack, sp := &vmas[i], t.own.regs.Rsp
	limit, onMain := stack.End, t.tid == t.PID() && sp >= stack.Start && sp < stack.End
	if onMain {
		limit = sp - redZone
	}
	b := make([]byte, n+windowStep)
	end := min(limit, stack.Start+windows)
	for at := stack.Start + below; at+uint64(len(b)) <= end; at += windowStep {
		if _, err := mem.ReadAt(b, int64(at)); err != nil {
			return 0, err
		}
		if empty(b) || abandoned(b, at, t) {
			return at, nil
		}
	}
	at := (sp - redZone - uint64(n)) &^ (align - 1)
	if !onMain || at < stack.Start {
		return 0, errNoScratch
	}
	return at, nil
}

func empty(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

// abandoned says whether a scratch that begins at address at was left by a
// tool that died, and its thread, which is t, is no longer on the way through
// the frames: neither in that Space nor with its stack pointer here.
func abandoned(b []byte, at uint64, t *Thread) bool {
	if !bytes.HasPrefix(b, []byte(scratchMark)) {
		return false
	}
	le := binary.LittleEndian
	tid, lo, hi := le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	r := &t.own.regs
	return tid == uint64(t.tid) && (r.Rip < lo || r.Rip >= hi) && (r.Rsp < at || r.Rsp >= at+windowStep)
}

// header is what a scratch of the Space begins with.
func (s *Space) header() []byte {
	b := make([]byte, scratchHeader)
	copy(b, scratchMark)
	le := binary.LittleEndian
	le.PutUint64(b[16:], uint64(s.home.thread.tid))
	le.PutUint64(b[24:], s.lo)
	le.PutUint64(b[32:], s.hi)
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
