package abi

import "encoding/binary"

// Sigaction is the kernel's struct sigaction of x86-64 (rt_sigaction(2)), in
// another order than the C library's.
type Sigaction struct {
	Handler  uint64 // SIG_DFL 0, SIG_IGN 1, or an address
	Flags    uint64 // SA_*
	Restorer uint64
	Mask     SigSet
}

// Sizes of the encoded structs.
const (
	SizeofSigaction = 32
	SizeofStack     = 24
	SizeofSigevent  = 64
)

// Special handlers and the flags of signal actions (asm/signal.h).
const (
	SigDfl = 0
	SigIgn = 1

	SaNocldstop = 0x00000001
	SaNocldwait = 0x00000002
	SaSiginfo   = 0x00000004
	SaExposeTag = 0x00000800
	SaRestorer  = 0x04000000
	SaOnstack   = 0x08000000
	SaRestart   = 0x10000000
	SaNodefer   = 0x40000000
	SaResethand = 0x80000000
)

// Encode gives the 32 bytes of the struct.
func (s Sigaction) Encode() []byte { return words(s.Handler, s.Flags, s.Restorer, uint64(s.Mask)) }

// DecodeSigaction reads the first 32 bytes of b.
func DecodeSigaction(b []byte) Sigaction {
	return Sigaction{uint64(word(b, 0)), uint64(word(b, 1)), uint64(word(b, 2)), SigSet(word(b, 3))}
}

// Stack is stack_t (sigaltstack(2)).
type Stack struct {
	SP    uint64
	Flags int32 // SS_*
	Size  uint64
}

// Flags of Stack (linux/signal.h).
const (
	SSOnstack    = 1
	SSDisable    = 2
	SSAutodisarm = 1 << 31
)

// Encode gives the 24 bytes of the struct.
func (s Stack) Encode() []byte { return words(s.SP, uint64(uint32(s.Flags)), s.Size) }

// DecodeStack reads the first 24 bytes of b.
func DecodeStack(b []byte) Stack {
	return Stack{uint64(word(b, 0)), int32(binary.LittleEndian.Uint32(b[8:])), uint64(word(b, 2))}
}

// Sigevent is struct sigevent as timer_create(2) takes it.
type Sigevent struct {
	Value  uint64
	Signo  int32
	Notify int32 // Sigev*
	TID    int32 // with SigevThreadID
}

// SigeventTID is where the thread id is in the struct.
const SigeventTID = 16

// Encode gives the 64 bytes of the struct.
func (s Sigevent) Encode() []byte {
	b := append32(words(s.Value), s.Signo, s.Notify, s.TID)
	return append(b, make([]byte, SizeofSigevent-len(b))...)
}
