package restore

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
)

func TestNever(t *testing.T) {
	fd, path := plan.FD(plan.Ref{Site: plan.Inode, ID: 1}), plan.Str("/x")
	for _, c := range []struct {
		nr   uintptr
		args []plan.Arg
		bad  bool
	}{
		{unix.SYS_FCHMOD, []plan.Arg{fd, plan.Int(0o1777)}, false},
		{unix.SYS_FCHMOD, []plan.Arg{fd, plan.Int(0o4755)}, true},
		{unix.SYS_FCHMOD, []plan.Arg{fd, plan.Int(0o2755)}, true},
		{unix.SYS_FCHMOD, []plan.Arg{fd, plan.ResultOf(plan.Ref{Site: plan.Inode, ID: 2})}, true},
		{unix.SYS_CHMOD, []plan.Arg{path, plan.Int(0o6711)}, true},
		{unix.SYS_FCHMODAT, []plan.Arg{fd, path, plan.Int(0o4000)}, true},
		{unix.SYS_OPENAT, []plan.Arg{fd, path, plan.Int(unix.O_CREAT), plan.Int(0o600)}, false},
		{unix.SYS_OPENAT, []plan.Arg{fd, path, plan.Int(unix.O_PATH)}, false},
		{unix.SYS_OPENAT, []plan.Arg{fd, path, plan.Int(unix.O_TMPFILE), plan.Int(0o4700)}, true},
		{unix.SYS_MKNODAT, []plan.Arg{fd, path, plan.Int(unix.S_IFIFO | 0o600), plan.Int(0)}, false},
		{unix.SYS_MKNODAT, []plan.Arg{fd, path, plan.Int(unix.S_IFCHR | 0o600), plan.Int(0x103)}, true},
		{unix.SYS_MKNODAT, []plan.Arg{fd, path, plan.Int(unix.S_IFBLK | 0o600), plan.Int(0x800)}, true},
		{unix.SYS_MKNODAT, []plan.Arg{fd, path, plan.Int(unix.S_IFREG | 0o4600), plan.Int(0)}, true},
		{unix.SYS_FSETXATTR, []plan.Arg{fd, plan.Str("user.note")}, false},
		{unix.SYS_FSETXATTR, []plan.Arg{fd, plan.Str("security.capability")}, true},
		{unix.SYS_SETXATTR, []plan.Arg{path, plan.Str("trusted.overlay.x")}, true},
	} {
		steps := []step{{Step: plan.Step{Ops: []plan.Op{plan.Call{Nr: c.nr, Args: c.args}}}, of: &content{}}}
		if err := checkNever(steps); (err != nil) != c.bad {
			t.Errorf("call %d with %v: %v", c.nr, c.args, err)
		}
	}
}
