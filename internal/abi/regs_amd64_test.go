package abi

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func neg(n int64) uint64 { return uint64(-n) }

func TestRegsEncode(t *testing.T) {
	r := Regs{R15: 1, OrigRax: 2, Rip: 3, Gs: 4, FsBase: 5}
	b := r.AppendTo(nil)
	if len(b) != SizeofRegs || b[0] != 1 || b[15*8] != 2 || b[16*8] != 3 || b[26*8] != 4 || b[21*8] != 5 {
		t.Errorf("encoded as %x", b)
	}
	back, err := ParseRegs(b)
	if err != nil || back != r {
		t.Errorf("%v, %v", back, err)
	}
	if _, err := ParseRegs(b[1:]); err == nil {
		t.Error("a short encoding was taken")
	}
}

func TestRestartable(t *testing.T) {
	for _, c := range []struct {
		name    string
		orig    uint64
		rax     uint64
		rewound bool
	}{
		{"user mode", NoSyscall, neg(512), false},
		{"ERESTARTSYS", unix.SYS_READ, neg(512), true},
		{"ERESTARTNOINTR", unix.SYS_READ, neg(513), true},
		{"ERESTARTNOHAND", unix.SYS_PPOLL, neg(514), true},
		{"ERESTART_RESTARTBLOCK", unix.SYS_NANOSLEEP, neg(516), true},
		{"EINTR with a handler due", unix.SYS_EPOLL_WAIT, neg(4), false},
		{"done", unix.SYS_READ, 5, false},
		{"ENOENT", unix.SYS_OPEN, neg(2), false},
	} {
		r := Regs{OrigRax: c.orig, Rax: c.rax, Rip: 100}
		want := Regs{OrigRax: NoSyscall, Rax: c.rax, Rip: 100}
		if c.rewound {
			want.Rax, want.Rip = c.orig, 98
		}
		if got := Restartable(r); got != want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestRestartEINTR(t *testing.T) {
	r := Regs{OrigRax: unix.SYS_EPOLL_WAIT, Rax: neg(4), Rip: 100}
	if got, ok := RestartEINTR(r); !ok || got.Rip != 98 || got.Rax != unix.SYS_EPOLL_WAIT || got.OrigRax != NoSyscall {
		t.Errorf("epoll_wait: %+v, %v", got, ok)
	}
	for _, nr := range []uint64{unix.SYS_PAUSE, unix.SYS_CONNECT, unix.SYS_NANOSLEEP, NoSyscall} {
		r.OrigRax = nr
		if got, ok := RestartEINTR(r); ok || got != r {
			t.Errorf("call %d was put back", int64(nr))
		}
	}
}

// around is code whose last instructions before rip are those given.
func around(before []byte, after ...byte) []byte {
	b := append(bytes.Repeat([]byte{0x90}, CodeBefore-len(before)), before...)
	return append(b, append(after, 0x90, 0x90)[:CodeAfter]...)
}

func TestRestartedCall(t *testing.T) {
	const nr219 = unix.SYS_RESTART_SYSCALL
	stack := uint64(0x7ffc00001000)
	nap := Regs{Rdi: 0, Rsi: 0, Rdx: stack}
	poll := Regs{Rdi: 0, Rsi: 0, Rdx: 10}
	futex := Regs{Rdi: stack, Rsi: 128, Rdx: 7, R10: stack + 16}
	vague := Regs{Rdi: stack, Rsi: 9, Rdx: 7, R10: stack + 16} // a shared futex, or 9 descriptors
	insn := []byte{0x0f, 0x05}
	mov := func(nr byte) []byte { return []byte{0xb8, nr, 0, 0, 0} }
	with := func(r Regs, orig, rax uint64) Regs {
		r.OrigRax, r.Rax, r.Rip = orig, rax, 1000
		return r
	}
	inside := func(nr byte) []byte { return around(append(mov(nr), insn...)) }
	for _, c := range []struct {
		name      string
		in        Regs
		code      []byte
		orig, rax uint64
		rip       uint64
	}{
		{"inside, told by the code", with(nap, nr219, neg(516)), inside(230), 230, neg(516), 1000},
		{"inside, told by the arguments", with(poll, nr219, neg(516)), around(insn), 7, neg(516), 1000},
		{"inside, a private futex", with(futex, nr219, neg(516)), around(insn), 202, neg(516), 1000},
		{"inside, not to be told", with(vague, nr219, neg(516)), around(insn), NoSyscall, neg(4), 1000},
		{"inside, done", with(futex, nr219, neg(110)), around(insn), 202, neg(110), 1000},
		{"before, first time", with(vague, 202, nr219), around(nil, insn...), NoSyscall, 202, 1000},
		{"before, again", with(poll, nr219, nr219), around(nil, insn...), NoSyscall, 7, 1000},
		{"before, in user mode", with(nap, NoSyscall, nr219), around(mov(230), insn...), NoSyscall, 230, 1000},
		{"before, not to be told", with(vague, NoSyscall, nr219), around(nil, insn...), NoSyscall, neg(4), 1002},
		{"219 bytes read", with(vague, 0, nr219), around(nil), 0, nr219, 1000},
	} {
		got := RestartedCall(c.in, c.code)
		if got.OrigRax != c.orig || got.Rax != c.rax || got.Rip != c.rip {
			t.Errorf("%s: orig_rax %d, rax %d, rip %d", c.name, int64(got.OrigRax), int64(got.Rax), got.Rip)
		}
	}
}
