package abi

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// SizeofSiginfo is SI_MAX_SIZE (asm-generic/siginfo.h).
const SizeofSiginfo = 128

// SiginfoLayout says which fields of a Siginfo its signal and code give
// meaning to (enum siginfo_layout in linux/signal.h).
type SiginfoLayout uint8

// The layouts.
const (
	SiginfoKill  SiginfoLayout = iota // PID, UID
	SiginfoTimer                      // TimerID, Overrun, Value
	SiginfoPoll                       // Band, FD
	SiginfoFault                      // Addr, and what the code adds
	SiginfoChild                      // PID, UID, Status, Utime, Stime
	SiginfoQueue                      // PID, UID, Value
	SiginfoSys                        // Addr, Syscall, Arch
)

// Siginfo is siginfo_t (sigaction(2)). Only the fields of its Layout are
// encoded and decoded.
type Siginfo struct {
	Signo, Errno, Code int32

	PID     int32  // as the receiver's PID namespace shows it
	UID     uint32 // as the receiver's user namespace shows it
	Value   uint64 // sigval: an int or a pointer
	TimerID int32
	Overrun int32
	Private int32 // si_sys_private, the kernel's own mark on a timer signal
	Status  int32 // exit status, or the signal of a child
	Utime   int64 // clock ticks
	Stime   int64
	Addr    uint64
	Lower   uint64 // of the bound that SEGV_BNDERR reports
	Upper   uint64
	Pkey    uint32 // of SEGV_PKUERR
	AddrLSB int16  // of BUS_MCEERR_*: log2 of the damaged size
	Perf    PerfSiginfo
	Band    int64
	FD      int32
	Syscall int32
	Arch    uint32 // AUDIT_ARCH_*
}

// PerfSiginfo is the part of TRAP_PERF.
type PerfSiginfo struct {
	Data        uint64
	Type, Flags uint32
}

// Values of si_code that decide the layout (asm-generic/siginfo.h).
const (
	SIUser   = 0
	SIKernel = 0x80
	SITimer  = -2
	SIMesgq  = -3
	SISigio  = -5

	busMceerrAR = 4
	busMceerrAO = 5
	segvBndErr  = 3
	segvPkuErr  = 4
	trapPerf    = 6
)

// Layout is the kernel's own decision, siginfo_layout in kernel/signal.c.
func (s *Siginfo) Layout() SiginfoLayout {
	switch {
	case s.Code == SITimer:
		return SiginfoTimer
	case s.Code == SISigio:
		return SiginfoPoll
	case s.Code < 0:
		return SiginfoQueue
	case s.Code == SIUser || s.Code >= SIKernel:
		return SiginfoKill
	}
	if limit, layout := codesOf(unix.Signal(s.Signo)); s.Code <= limit {
		return layout
	}
	if s.Code <= 6 { // NSIGPOLL: F_SETSIG chose another signal than SIGIO
		return SiginfoPoll
	}
	return SiginfoKill
}

// codesOf gives the highest si_code that a signal has of its own, and the
// layout of those (sig_sicodes).
func codesOf(sig unix.Signal) (int32, SiginfoLayout) {
	switch sig {
	case unix.SIGILL:
		return 11, SiginfoFault
	case unix.SIGFPE:
		return 15, SiginfoFault
	case unix.SIGSEGV:
		return 10, SiginfoFault
	case unix.SIGBUS:
		return 5, SiginfoFault
	case unix.SIGTRAP:
		return 6, SiginfoFault
	case unix.SIGCHLD:
		return 6, SiginfoChild
	case unix.SIGIO:
		return 6, SiginfoPoll
	case unix.SIGSYS:
		return 2, SiginfoSys
	}
	return 0, SiginfoKill
}

// siginfoCodec walks the fields in one direction: each method moves one value
// between the struct's bytes and a variable.
type siginfoCodec struct {
	b      [SizeofSiginfo]byte
	decode bool
}

func (c *siginfoCodec) u32(off int, p *uint32) {
	if c.decode {
		*p = binary.LittleEndian.Uint32(c.b[off:])
		return
	}
	binary.LittleEndian.PutUint32(c.b[off:], *p)
}

func (c *siginfoCodec) i32(off int, p *int32) {
	v := uint32(*p)
	c.u32(off, &v)
	*p = int32(v)
}

func (c *siginfoCodec) u64(off int, p *uint64) {
	if c.decode {
		*p = binary.LittleEndian.Uint64(c.b[off:])
		return
	}
	binary.LittleEndian.PutUint64(c.b[off:], *p)
}

func (c *siginfoCodec) i64(off int, p *int64) {
	v := uint64(*p)
	c.u64(off, &v)
	*p = int64(v)
}

// fields walks s: three ints, four bytes of padding, the union at 16.
func (c *siginfoCodec) fields(s *Siginfo) {
	c.i32(0, &s.Signo)
	c.i32(4, &s.Errno)
	c.i32(8, &s.Code)
	switch s.Layout() {
	case SiginfoTimer:
		c.i32(16, &s.TimerID)
		c.i32(20, &s.Overrun)
		c.u64(24, &s.Value)
		c.i32(32, &s.Private)
	case SiginfoPoll:
		c.i64(16, &s.Band)
		c.i32(24, &s.FD)
	case SiginfoFault:
		c.u64(16, &s.Addr)
		c.fault(s)
	case SiginfoSys:
		c.u64(16, &s.Addr)
		c.i32(24, &s.Syscall)
		c.u32(28, &s.Arch)
	default:
		c.i32(16, &s.PID)
		c.u32(20, &s.UID)
		c.sender(s)
	}
}

func (c *siginfoCodec) sender(s *Siginfo) {
	switch s.Layout() {
	case SiginfoQueue:
		c.u64(24, &s.Value)
	case SiginfoChild:
		c.i32(24, &s.Status)
		c.i64(32, &s.Utime)
		c.i64(40, &s.Stime)
	}
}

// fault walks what follows the address: a union that depends on the code.
func (c *siginfoCodec) fault(s *Siginfo) {
	sig := unix.Signal(s.Signo)
	switch {
	case sig == unix.SIGBUS && (s.Code == busMceerrAR || s.Code == busMceerrAO):
		v := uint32(uint16(s.AddrLSB))
		c.u32(24, &v)
		s.AddrLSB = int16(v)
	case sig == unix.SIGSEGV && s.Code == segvBndErr:
		c.u64(32, &s.Lower)
		c.u64(40, &s.Upper)
	case sig == unix.SIGSEGV && s.Code == segvPkuErr:
		c.u32(32, &s.Pkey)
	case sig == unix.SIGTRAP && s.Code == trapPerf:
		c.u64(24, &s.Perf.Data)
		c.u32(32, &s.Perf.Type)
		c.u32(36, &s.Perf.Flags)
	}
}

// Encode gives the 128 bytes of the struct.
func (s *Siginfo) Encode() []byte {
	var c siginfoCodec
	t := *s
	c.fields(&t)
	return c.b[:]
}

// DecodeSiginfo reads a struct of 128 bytes.
func DecodeSiginfo(b []byte) (s Siginfo, err error) {
	if len(b) < SizeofSiginfo {
		return s, syntax("siginfo", b, "short struct")
	}
	c := siginfoCodec{decode: true}
	copy(c.b[:], b)
	c.fields(&s)
	return s, nil
}
