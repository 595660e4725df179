package kernelio

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// Requests of ptrace(2) that x/sys/unix lacks (linux/ptrace.h).
const (
	ptraceGetSigmask      = 0x420a
	ptraceSetSigmask      = 0x420b
	ptraceGetRseqConfig   = 0x420f
	ptraceGetDispatchConf = 0x4211
	ptracePeekSharedFlag  = 1 // PTRACE_PEEKSIGINFO_SHARED
)

// ptrace is the bare call. It never blocks, so the Go scheduler need not
// know. The pointer arguments are unsafe.Pointer until the very call, as the
// compiler keeps what they point to in place only then.
func ptrace(req int, tid int, addr uintptr, data unsafe.Pointer) (uintptr, error) {
	r, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, uintptr(data), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("ptrace", e)
	}
	return r, nil
}

// ptraceValue is ptrace with a number as data.
func ptraceValue(req int, tid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if e != 0 {
		return os.NewSyscallError("ptrace", e)
	}
	return nil
}

// PtraceSeize attaches to tid without stopping it; opts are PTRACE_O_*. It
// waits for an execve(2) in the process of tid, and so lets Go run other
// goroutines meanwhile.
func PtraceSeize(tid int, opts uintptr) error {
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, opts, 0, 0)
	if e != 0 {
		return os.NewSyscallError("ptrace", e)
	}
	return nil
}

// PtraceSetOptions replaces the PTRACE_O_* of a stopped tid.
func PtraceSetOptions(tid int, opts uintptr) error {
	return ptraceValue(unix.PTRACE_SETOPTIONS, tid, 0, opts)
}

// PtraceInterrupt asks tid to stop with PTRACE_EVENT_STOP.
func PtraceInterrupt(tid int) error { return ptraceValue(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// PtraceCont lets tid run, with signal sig delivered if it is in a
// signal-delivery-stop.
func PtraceCont(tid, sig int) error { return ptraceValue(unix.PTRACE_CONT, tid, 0, uintptr(sig)) }

// PtraceSyscall is PtraceCont up to the next entry or exit of a system call.
func PtraceSyscall(tid, sig int) error {
	return ptraceValue(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig))
}

// PtraceDetach lets tid go, with signal sig as PtraceCont takes it.
func PtraceDetach(tid, sig int) error { return ptraceValue(unix.PTRACE_DETACH, tid, 0, uintptr(sig)) }

// PtraceGetRegs reads the general registers of a stopped tid.
func PtraceGetRegs(tid int) (abi.Regs, error) {
	var r abi.Regs
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&r)), Len: uint64(unsafe.Sizeof(r))}
	_, err := ptrace(unix.PTRACE_GETREGSET, tid, unix.NT_PRSTATUS, unsafe.Pointer(&iov))
	return r, err
}

// PtraceSetRegs writes the general registers of a stopped tid.
func PtraceSetRegs(tid int, r abi.Regs) error {
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&r)), Len: uint64(unsafe.Sizeof(r))}
	_, err := ptrace(unix.PTRACE_SETREGSET, tid, unix.NT_PRSTATUS, unsafe.Pointer(&iov))
	return err
}

// MaxXState is more than the XSAVE area of any processor takes; with AMX it
// is 11 KiB. A buffer that gets full may have been too small: the kernel cuts
// the area short and does not tell (copy_regset_to_user).
const MaxXState = 64 << 10

// PtraceGetXState reads the extended registers (x87, SSE, AVX, ...) of a
// stopped tid into room, of MaxXState bytes, and returns the part of it that
// they take: an XSAVE area in standard format whose bytes 464 to 471 hold the
// mask of the features it has room for (NT_X86_XSTATE).
func PtraceGetXState(tid int, room []byte) ([]byte, error) {
	iov := unix.Iovec{Base: &room[0], Len: uint64(len(room))}
	_, err := ptrace(unix.PTRACE_GETREGSET, tid, unix.NT_X86_XSTATE, unsafe.Pointer(&iov))
	return room[:iov.Len:iov.Len], err
}

// PtraceSetXState writes what PtraceGetXState read.
func PtraceSetXState(tid int, b []byte) error {
	iov := unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	_, err := ptrace(unix.PTRACE_SETREGSET, tid, unix.NT_X86_XSTATE, unsafe.Pointer(&iov))
	return err
}

// PtraceGetSigmask reads the signal mask of a stopped tid: the one it had
// before a call such as ppoll(2) put another in its place.
func PtraceGetSigmask(tid int) (abi.SigSet, error) {
	var m abi.SigSet
	_, err := ptrace(ptraceGetSigmask, tid, unsafe.Sizeof(m), unsafe.Pointer(&m))
	return m, err
}

// PtraceSetSigmask writes the signal mask of a stopped tid.
func PtraceSetSigmask(tid int, m abi.SigSet) error {
	_, err := ptrace(ptraceSetSigmask, tid, unsafe.Sizeof(m), unsafe.Pointer(&m))
	return err
}

// PtracePeekSignals reads up to len(out) pending signals of a stopped tid,
// from number start on: its own, or with shared those of its process. It
// returns how many there were.
func PtracePeekSignals(tid int, start uint64, shared bool, out [][abi.SizeofSiginfo]byte) (int, error) {
	args := struct {
		off   uint64
		flags uint32
		nr    int32
	}{off: start, nr: int32(len(out))}
	if shared {
		args.flags = ptracePeekSharedFlag
	}
	n, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKSIGINFO, uintptr(tid),
		uintptr(unsafe.Pointer(&args)), uintptr(unsafe.Pointer(unsafe.SliceData(out))), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("ptrace", e)
	}
	return int(n), nil
}

// PtraceRseq reads the rseq registration of a stopped tid (Linux 5.13).
func PtraceRseq(tid int) (abi.RSeqConfig, error) {
	var c struct {
		addr                   uint64
		size, signature, flags uint32
		_                      uint32
	}
	_, err := ptrace(ptraceGetRseqConfig, tid, unsafe.Sizeof(c), unsafe.Pointer(&c))
	return abi.RSeqConfig{Addr: c.addr, Size: c.size, Signature: c.signature, Flags: c.flags}, err
}

// PtraceDispatch reads the dispatch configuration of a stopped tid (Linux 6.4).
func PtraceDispatch(tid int) (abi.UserDispatch, error) {
	var c abi.UserDispatch
	_, err := ptrace(ptraceGetDispatchConf, tid, unsafe.Sizeof(c), unsafe.Pointer(&c))
	return c, err
}

// ntIOPerm is NT_386_IOPERM of linux/elf.h: the bitmap of ioperm(2).
const ntIOPerm = 0x201

// PtraceIOPorts says whether a stopped tid has a bitmap of I/O ports. There is
// none to read where the kernel knows no such permissions (EINVAL), or the
// thread has none (ENXIO, ioperm_get in arch/x86/kernel/ptrace.c).
func PtraceIOPorts(tid int) (bool, error) {
	var some [8]byte
	iov := unix.Iovec{Base: &some[0], Len: uint64(len(some))}
	_, err := ptrace(unix.PTRACE_GETREGSET, tid, ntIOPerm, unsafe.Pointer(&iov))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}
