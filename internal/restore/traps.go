package restore

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
)

// knowsTraps says whether a step gives a process something that the traps at
// the end of programs would take from it again, or take for their own: that it
// ignores SIGTRAP, one that is pending, or something that may send one. A handler
// is left alone (force_sig_info_to_task in kernel/signal.c).
func knowsTraps(st step) bool {
	return slices.ContainsFunc(st.Ops, func(op plan.Op) bool {
		c, ok := op.(plan.Call)
		return ok && namesTrap(c)
	})
}

func namesTrap(c plan.Call) bool {
	const sigIgn = 1 // SIG_IGN, asm-generic/signal-defs.h
	named := slices.ContainsFunc(c.Args, isTrap)
	switch c.Nr {
	case unix.SYS_RT_SIGACTION: // struct kernel_sigaction: handler, flags, restorer, mask
		action := c.Args[1].Buf
		return isTrap(c.Args[0]) && (len(action) < 8 || binary.LittleEndian.Uint64(action) == sigIgn)
	case unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_FCNTL, unix.SYS_PRCTL:
		return named
	case unix.SYS_TIMER_CREATE: // struct sigevent: value, signo, notify, ...
		event := c.Args[1].Buf
		return len(event) < 12 || binary.LittleEndian.Uint32(event[8:]) == uint32(unix.SIGTRAP)
	}
	return false
}

func isTrap(a plan.Arg) bool { return a.Kind == plan.ArgInt && a.Val == uint64(unix.SIGTRAP) }
