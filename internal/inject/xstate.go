package inject

import (
	"bytes"
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// xtile are the features that only threads with the kernel's leave may use
// (AMX; arch_prctl ARCH_REQ_XCOMP_PERM). ptrace shows room for them in every
// thread, but a signal frame with more than the thread may use is not taken
// (check_xstate_in_sigframe).
const xtile = 1<<17 | 1<<18

// getXState reads the extended registers and cuts them to all features but
// those that need leave and are not in use.
func (t *Thread) getXState() ([]byte, error) {
	x, err := t.allXState()
	if err != nil {
		return nil, err
	}
	room, used := abi.XStateFeatures(x)
	features := room
	if used&xtile == 0 {
		features &^= xtile
	}
	n := t.tr.xstateLen(features)
	if room == 0 || n > len(x) {
		return nil, fmt.Errorf("task %d has %d bytes of extended registers for the features %#x", t.tid, len(x), room)
	}
	x = bytes.Clone(x[:n])
	abi.SetXStateRoom(x, features)
	return x, nil
}

// allXState reads what ptrace shows of the extended registers. It is valid
// until the next call.
func (t *Thread) allXState() ([]byte, error) {
	if t.tr.xroom == nil {
		t.tr.xroom = make([]byte, kernelio.MaxXState)
	}
	x, err := kernelio.PtraceGetXState(t.tid, t.tr.xroom)
	return x, t.wrap("reading the extended registers", err)
}

// setXState writes extended registers; the kernel wants them all, in its own
// size.
func (t *Thread) setXState(b []byte) error {
	t.kept = nil
	if t.tr.xsize == 0 { // the same for all threads
		x, err := t.allXState()
		if err != nil {
			return err
		}
		t.tr.xsize = len(x)
		t.tr.xhas, _ = abi.XStateFeatures(x)
	}
	x, room := t.tr.xroom[:t.tr.xsize], t.tr.xhas
	if _, used := abi.XStateFeatures(b); used&^room != 0 || used == 0 && len(b) == 0 {
		return fmt.Errorf("task %d cannot have the extended registers %#x: this processor has %#x", t.tid, used, room)
	}
	clear(x[copy(x, b):])
	return t.wrap("writing the extended registers", kernelio.PtraceSetXState(t.tid, x))
}

// xstateLen is the size of an XSAVE area in standard format for the
// features. CPUID leaf 13 tells size and offset of each; in a virtual machine
// it takes microseconds, so that the answers are kept.
func (tr *Tracer) xstateLen(features uint64) int {
	n := uint32(512 + 64)
	for i := 2; i < len(tr.xsave); i++ {
		if features>>i&1 == 0 {
			continue
		}
		if tr.xsave[i] == 0 {
			size, off, _, _ := cpuid(13, uint32(i))
			tr.xsave[i] = off + size
		}
		n = max(n, tr.xsave[i])
	}
	return int(n)
}
