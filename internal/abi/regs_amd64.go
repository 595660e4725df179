package abi

import (
	"encoding/binary"
	"fmt"
	"structs"

	"golang.org/x/sys/unix"
)

// Regs are the general registers of a thread: struct user_regs_struct of
// asm/user_64.h, the layout of the NT_PRSTATUS register set.
type Regs struct {
	_                                      structs.HostLayout
	R15, R14, R13, R12, Rbp, Rbx, R11, R10 uint64
	R9, R8, Rax, Rcx, Rdx, Rsi, Rdi        uint64
	OrigRax                                uint64
	Rip, Cs, Eflags, Rsp, Ss               uint64
	FsBase, GsBase, Ds, Es, Fs, Gs         uint64
}

// SizeofRegs is the size of Regs in bytes.
const SizeofRegs = 27 * 8

// CS64 is the code segment of 64-bit user mode (__USER_CS in asm/segment.h);
// another one means that the thread runs 32-bit code.
const CS64 = 0x33

// AppendTo encodes the registers as the kernel lays them out.
func (r *Regs) AppendTo(b []byte) []byte {
	for _, p := range r.fields() {
		b = binary.LittleEndian.AppendUint64(b, *p)
	}
	return b
}

// ParseRegs decodes what AppendTo or PTRACE_GETREGSET gave.
func ParseRegs(b []byte) (Regs, error) {
	var r Regs
	if len(b) != SizeofRegs {
		return r, fmt.Errorf("general registers are %d bytes, not %d", len(b), SizeofRegs)
	}
	for i, p := range r.fields() {
		*p = binary.LittleEndian.Uint64(b[8*i:])
	}
	return r, nil
}

func (r *Regs) fields() [27]*uint64 {
	return [27]*uint64{
		&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R11, &r.R10,
		&r.R9, &r.R8, &r.Rax, &r.Rcx, &r.Rdx, &r.Rsi, &r.Rdi,
		&r.OrigRax,
		&r.Rip, &r.Cs, &r.Eflags, &r.Rsp, &r.Ss,
		&r.FsBase, &r.GsBase, &r.Ds, &r.Es, &r.Fs, &r.Gs,
	}
}

// NoSyscall in OrigRax tells the kernel that the thread did not stop inside
// a system call, so that it restarts none when the thread goes on.
const NoSyscall = ^uint64(0)

// InSyscall says whether the thread stopped inside a system call.
func (r *Regs) InSyscall() bool { return int64(r.OrigRax) >= 0 }

// The results with which a system call asks to be started again
// (include/linux/errno.h). User space never sees them; a tracer does.
const (
	erestartSys          = 512
	erestartNoIntr       = 513
	erestartNoHand       = 514
	erestartRestartBlock = 516
)

// Restartable gives the registers of a thread that stopped in r, such that
// it can go on from them anywhere, in another process as well: a call that
// the kernel would restart is put right before its syscall instruction.
//
// A call with ERESTART_RESTARTBLOCK starts anew, with its whole time-out:
// what was left of it is in the kernel's restart block, which no interface
// shows.
func Restartable(r Regs) Regs {
	if !r.InSyscall() {
		return r
	}
	switch -int64(r.Rax) {
	case erestartSys, erestartNoIntr, erestartNoHand, erestartRestartBlock:
		return rewind(r)
	}
	r.OrigRax = NoSyscall
	return r
}

// RestartEINTR is what must be done to r before a thread that was only
// stopped goes on: calls that answer a stop with EINTR although there is no
// signal handler to run (signal(7), "Interruption of system calls and library
// functions by stop signals") are put back to start again. All else the
// kernel restarts by itself. It reports whether it changed anything; the
// caller makes sure first that no signal is pending, whose handler the EINTR
// may be due to.
func RestartEINTR(r Regs) (Regs, bool) {
	if !r.InSyscall() || int64(r.Rax) != -int64(unix.EINTR) || !interruptedByStop(r.OrigRax) {
		return r, false
	}
	return rewind(r), true
}

// InRestartBlock says whether the kernel will go on with the interrupted call
// by restart_syscall(2).
func InRestartBlock(r Regs) bool {
	return r.InSyscall() && int64(r.Rax) == -erestartRestartBlock
}

// syscallLen is the length of the syscall instruction, 0f 05.
const syscallLen = 2

func rewind(r Regs) Regs {
	r.Rax = r.OrigRax
	r.Rip -= syscallLen
	r.OrigRax = NoSyscall
	return r
}

// interruptedByStop lists the calls that return EINTR after a stop, that have
// done nothing when they do, and so can be made again with the same arguments.
func interruptedByStop(nr uint64) bool {
	switch nr {
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2,
		unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_RT_SIGTIMEDWAIT,
		// These with a time-out set on the socket (sock_intr_errno).
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG,
		unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
		unix.SYS_READ, unix.SYS_READV, unix.SYS_WRITE, unix.SYS_WRITEV,
		unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS:
		return true
	}
	return false
}

// TaskState is what a thread is made to go on from.
type TaskState struct {
	Regs   Regs
	Mask   SigSet
	XState []byte // an XSAVE area in standard format, as PTRACE_GETREGSET gives it
}
