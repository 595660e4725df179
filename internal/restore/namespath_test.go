package restore

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
)

func TestNamesPath(t *testing.T) {
	fd := plan.FD(plan.Ref{Site: plan.OpenFile, ID: 1})
	address := func(family uint16, name string) plan.Arg {
		return plan.Buf(append(binary.NativeEndian.AppendUint16(nil, family), name...))
	}
	for _, c := range []struct {
		nr   uintptr
		args []plan.Arg
		want bool
	}{
		{unix.SYS_OPENAT, []plan.Arg{plan.Int(unix.AT_FDCWD), plan.Str("/x")}, true},
		{unix.SYS_OPENAT, []plan.Arg{plan.Int(unix.AT_FDCWD), plan.Str(ownMappings + "1-2")}, false},
		{unix.SYS_OPENAT, []plan.Arg{plan.Int(unix.AT_FDCWD), plan.FDPath(plan.Ref{Site: plan.Inode, ID: 1})}, false},
		{unix.SYS_BIND, []plan.Arg{fd, address(unix.AF_UNIX, "/run/x")}, true},
		{unix.SYS_BIND, []plan.Arg{fd, address(unix.AF_UNIX, "x")}, true},
		{unix.SYS_CONNECT, []plan.Arg{fd, address(unix.AF_UNIX, "/run/x")}, true},
		{unix.SYS_BIND, []plan.Arg{fd, address(unix.AF_UNIX, "\x00x")}, false},
		{unix.SYS_BIND, []plan.Arg{fd, address(unix.AF_UNIX, "")}, false},
		{unix.SYS_BIND, []plan.Arg{fd, address(unix.AF_INET, "\x00\x50\x7f\x00\x00\x01")}, false},
		{unix.SYS_LISTEN, []plan.Arg{fd, plan.Int(5)}, false},
	} {
		if got := namesPath(plan.Call{Nr: c.nr, Args: c.args}); got != c.want {
			t.Errorf("call %d with %v: %v", c.nr, c.args, got)
		}
	}
}
