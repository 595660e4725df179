package abi

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A call that was interrupted and goes on with what was left of its time-out
// does so as restart_syscall(2): the kernel puts that number into rax. When it
// is interrupted once more the number of the call that the program made is
// nowhere in the registers; its arguments are. Only four calls do this.

// Restarted says whether the registers may be those of a thread inside
// restart_syscall, or right before it; RestartedCall then wants to see the
// code from rip-CodeBefore to rip+CodeAfter.
func Restarted(r Regs) bool {
	return r.OrigRax == unix.SYS_RESTART_SYSCALL || r.Rax == unix.SYS_RESTART_SYSCALL
}

// The code that RestartedCall looks at.
const (
	CodeBefore = 32
	CodeAfter  = 2
)

// RestartedCall gives registers in which the call that the program made
// stands again, for a thread of which Restarted is true; code is what lies
// around rip. When the call cannot be told, the registers say that it was
// interrupted by a signal (EINTR).
//
// Such registers are for a frame or another process. The thread itself must
// go on with those it stopped with, to get what is left of its time-out.
func RestartedCall(r Regs, code []byte) Regs {
	before, after := code[:CodeBefore], code[CodeBefore:]
	if r.Rax == unix.SYS_RESTART_SYSCALL && bytes.Equal(after, syscallInsn()) {
		return beforeRestart(r, before)
	}
	if r.OrigRax != unix.SYS_RESTART_SYSCALL {
		return r // the result of some call is 219
	}
	if nr, ok := timedCall(&r, before); ok {
		r.OrigRax = nr
		return r
	}
	if int64(r.Rax) == -erestartRestartBlock {
		r.Rax = interrupted()
	}
	r.OrigRax = NoSyscall
	return r
}

// beforeRestart is for a thread that is about to execute restart_syscall. If
// it has not been in user mode since the kernel arranged that, and it was the
// first time, the number of the call is still there.
func beforeRestart(r Regs, before []byte) Regs {
	nr, ok := r.OrigRax, r.InSyscall() && r.OrigRax != unix.SYS_RESTART_SYSCALL
	if !ok {
		nr, ok = timedCall(&r, before)
	}
	r.OrigRax = NoSyscall
	if ok {
		r.Rax = nr
		return r
	}
	r.Rip += syscallLen
	r.Rax = interrupted()
	return r
}

// interrupted is the result of a call that a signal ended.
func interrupted() uint64 { return ^uint64(unix.EINTR) + 1 }

func syscallInsn() []byte { return []byte{0x0f, 0x05} }

// timedCall finds the number. Before is the code up to rip, which is at the
// syscall instruction or after it: the number is the last that it puts into eax
// (b8 and four bytes), if the arguments fit; or the only one that they fit, as
// after syscall(2), the function, which has the number from its caller.
func timedCall(r *Regs, before []byte) (uint64, bool) {
	for i := len(before) - 5; i >= 0; i-- {
		if nr := uint64(binary.LittleEndian.Uint32(before[i+1:])); before[i] == 0xb8 && fits(r, nr) {
			return nr, true
		}
	}
	if r.Rsi&futexPrivate != 0 && fits(r, unix.SYS_FUTEX) {
		return unix.SYS_FUTEX, true // and no poll of 128 descriptors
	}
	var found []uint64
	for _, nr := range []uint64{unix.SYS_POLL, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_FUTEX} {
		if fits(r, nr) {
			found = append(found, nr)
		}
	}
	if len(found) != 1 {
		return 0, false
	}
	return found[0], true
}

// Commands of futex(2) that wait.
const (
	futexCmdMask    = 0x7f
	futexPrivate    = 0x80
	futexWait       = 0
	futexWaitBitset = 9
	futexWaitPI     = 11
)

// fits says whether the arguments could be those of a call that waits for
// some time.
func fits(r *Regs, nr uint64) bool {
	switch nr {
	case unix.SYS_POLL:
		return (r.Rdi == 0 && r.Rsi == 0 || pointer(r.Rdi)) && r.Rsi < 1<<20 && r.Rdx < 1<<31 && r.Rdx > 0
	case unix.SYS_NANOSLEEP:
		return pointer(r.Rdi) && (r.Rsi == 0 || pointer(r.Rsi))
	case unix.SYS_CLOCK_NANOSLEEP:
		return int32(r.Rdi) < 16 && !pointer(r.Rdi) && r.Rsi&1 == 0 && pointer(r.Rdx)
	case unix.SYS_FUTEX:
		cmd := r.Rsi & futexCmdMask
		return pointer(r.Rdi) && pointer(r.R10) && (cmd == futexWait || cmd == futexWaitBitset || cmd == futexWaitPI)
	}
	return false
}

// pointer says whether v could be an address in user space.
func pointer(v uint64) bool { return v >= 1<<16 && v < 1<<47 }
