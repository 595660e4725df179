package abi

import "encoding/binary"

// Layout of struct rt_sigframe (arch/x86/include/asm/sigframe.h) with struct
// ucontext and struct sigcontext_64 inside (uapi asm/ucontext.h,
// asm/sigcontext.h). rt_sigreturn(2) finds it right below its stack pointer
// and reads neither the siginfo nor the return address.
const (
	sfUC       = 8               // after the return address
	sfUCStack  = sfUC + 16       // stack_t
	sfRegs     = sfUC + 40       // struct sigcontext_64
	sfSegments = sfRegs + 18*8   // cs, gs, fs, ss: 16 bits each
	sfFPState  = sfSegments + 40 // pointer
	sfMask     = sfRegs + 256
	sfSize     = sfMask + 8 + 128
)

// SigFrameXState is where the extended registers lie in the frame; the frame
// must be aligned such that they are (xrstor wants 64 bytes).
const SigFrameXState = (sfSize + 63) &^ 63

// Flags of ucontext (asm/ucontext.h).
const (
	ucFPXState        = 1 // extended registers beyond fxsave
	ucSigcontextSS    = 2 // the frame has ss
	ucStrictRestoreSS = 4 // and it is the one to load
)

// Of the software bytes in the extended registers (struct _fpx_sw_bytes).
const (
	fpSoftware = 464 // their place, where ptrace keeps the feature mask
	fpHeader   = 512 // XSTATE_BV of the XSAVE header
	fpMagic1   = 0x46505853
	fpMagic2   = 0x46505845
)

// altstackKeep is no mode that sigaltstack knows: rt_sigreturn ignores the
// error and leaves the alternate stack as it is (restore_altstack).
const altstackKeep = 0x7f

// SigFrame is a context for rt_sigreturn(2) to go to.
type SigFrame struct {
	Restorer uint64 // the return address: code that calls rt_sigreturn
	Regs     Regs   // segment bases are not part of a frame
	Mask     SigSet
	// XState is an XSAVE area in standard format as PTRACE_GETREGSET gives
	// it, cut to the features of XFeatures. None: the extended registers are
	// reset, and the next frame should bring them.
	XState    []byte
	XFeatures uint64
}

// Len is the number of bytes that Encode gives.
func (f *SigFrame) Len() int {
	if f.XState == nil {
		return sfSize
	}
	return SigFrameXState + len(f.XState) + 4
}

// Encode gives the frame for address at, a multiple of 64. rt_sigreturn
// takes it when the stack pointer is at+8, as after a ret to the restorer.
func (f *SigFrame) Encode(at uint64) []byte {
	b := make([]byte, f.Len())
	le := binary.LittleEndian
	le.PutUint64(b, f.Restorer)
	le.PutUint64(b[sfUC:], ucSigcontextSS|ucStrictRestoreSS)
	le.PutUint32(b[sfUCStack+8:], altstackKeep)
	for i, v := range f.sigcontext() {
		le.PutUint64(b[sfRegs+8*i:], v)
	}
	le.PutUint16(b[sfSegments:], uint16(f.Regs.Cs))
	le.PutUint16(b[sfSegments+2:], uint16(f.Regs.Gs))
	le.PutUint16(b[sfSegments+4:], uint16(f.Regs.Fs))
	le.PutUint16(b[sfSegments+6:], uint16(f.Regs.Ss))
	le.PutUint64(b[sfMask:], uint64(f.Mask))
	if f.XState != nil {
		b[sfUC] |= ucFPXState
		le.PutUint64(b[sfFPState:], at+SigFrameXState)
		f.encodeXState(b[SigFrameXState:])
	}
	return b
}

// SigFrameTarget reads where an encoded frame leads.
func SigFrameTarget(b []byte) (rip, rsp uint64) {
	le := binary.LittleEndian
	return le.Uint64(b[sfRegs+16*8:]), le.Uint64(b[sfRegs+15*8:])
}

func (f *SigFrame) sigcontext() [18]uint64 {
	r := &f.Regs
	return [18]uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
		r.Rdi, r.Rsi, r.Rbp, r.Rbx, r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
	}
}

// encodeXState marks the area as check_xstate_in_sigframe wants it.
func (f *SigFrame) encodeXState(b []byte) {
	n := copy(b, f.XState)
	le := binary.LittleEndian
	le.PutUint32(b[fpSoftware:], fpMagic1)
	le.PutUint32(b[fpSoftware+4:], uint32(n)+4)
	le.PutUint64(b[fpSoftware+8:], f.XFeatures)
	le.PutUint32(b[fpSoftware+16:], uint32(n))
	le.PutUint64(b[fpHeader:], le.Uint64(b[fpHeader:])&f.XFeatures)
	le.PutUint32(b[n:], fpMagic2)
}

// SetXStateRoom changes what XStateFeatures says of the room.
func SetXStateRoom(xstate []byte, features uint64) {
	binary.LittleEndian.PutUint64(xstate[fpSoftware:], features)
}

// XStateFeatures reads from an area that PTRACE_GETREGSET gave which
// features it has room for and which of them hold something.
func XStateFeatures(xstate []byte) (room, inUse uint64) {
	if len(xstate) < fpHeader+64 {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(xstate[fpSoftware:]), binary.LittleEndian.Uint64(xstate[fpHeader:])
}
