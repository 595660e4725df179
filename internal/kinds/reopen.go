package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Bits of f_flags (asm-generic/fcntl.h) that x/sys/unix lacks or, because
// glibc has no use for them, defines as 0.
const (
	oLargefile = 0o100000
	oTmpfile   = 0o20000000 // __O_TMPFILE, without O_DIRECTORY
)

// onlyAtOpen are the bits of f_flags that only the opening itself looks at:
// they are kept in f_flags, but opening the inode again by its descriptor
// can't repeat them. O_ASYNC is set after opening (fdowner).
const onlyAtOpen = unix.O_NOFOLLOW | oTmpfile | unix.O_ASYNC | unix.O_CLOEXEC

// reopen opens the object of an inode once more: a description of its own
// with these flags, which becomes out. The kernel checks the tool's right to
// open the file in that mode as for a path (proc_pid_fd(5)).
func reopen(inode kind.InodeRef, flags uint32, out plan.Ref) plan.Call {
	if flags&oTmpfile != 0 {
		flags &^= unix.O_DIRECTORY // it is a part of O_TMPFILE
	}
	flags = flags&^onlyAtOpen | unix.O_CLOEXEC | unix.O_NOCTTY
	return plan.Call{
		Nr:   unix.SYS_OPENAT,
		Args: []plan.Arg{atCwd, plan.FDPath(inode.Main()), plan.Int(flags)},
		Out:  out,
	}
}

// dup makes out another descriptor of the description that from names.
func dup(from plan.Arg, out plan.Ref) plan.Call {
	return plan.Call{
		Nr:   unix.SYS_FCNTL,
		Args: []plan.Arg{from, plan.Int(unix.F_DUPFD_CLOEXEC), plan.Int(0)},
		Out:  out,
	}
}

// atCwd is AT_FDCWD as an argument.
var atCwd = plan.Arg{Val: 1<<64 - 100}

// setFlags gives a description its status flags by F_SETFL.
func setFlags(fd plan.Arg, flags uint32) plan.Call {
	return plan.Call{
		Nr:   unix.SYS_FCNTL,
		Args: []plan.Arg{fd, plan.Int(unix.F_SETFL), plan.Int(flags)},
		Ret:  plan.Exactly(0),
	}
}

// accessMode is the O_ACCMODE part of flags as letters, for messages and
// demands: "r", "w", "rw", or "-" for O_PATH and descriptors for ioctl only.
func accessMode(flags uint32) string {
	if flags&unix.O_PATH != 0 {
		return "-"
	}
	return [4]string{"r", "w", "rw", "-"}[flags&unix.O_ACCMODE]
}
