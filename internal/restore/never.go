package restore

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// setID are the permissions that lend a file's executor its owner's rights.
const setID = unix.S_ISUID | unix.S_ISGID

// checkNever refuses plans that make what no restore makes, whoever grants
// whatever: set-id files, devices, and attributes that the kernel takes for
// authority, such as file capabilities. They are refused and not left out, as
// what remained would not be what was dumped.
func checkNever(steps []step) error {
	for i := range steps {
		for _, op := range steps[i].Ops {
			if c, ok := op.(plan.Call); ok {
				if what := forbidden(c); what != "" {
					return fmt.Errorf("%w: %w", steps[i].failed(fmt.Errorf("no restore makes %s", what)), image.ErrFormat)
				}
			}
		}
	}
	return nil
}

// forbidden names what a call makes that may not be made. A mode that isn't a
// plain number could be anything.
func forbidden(c plan.Call) string {
	switch c.Nr {
	case unix.SYS_CHMOD, unix.SYS_FCHMOD, unix.SYS_CREAT, unix.SYS_MKDIR:
		return setIDMode(c, 1)
	case unix.SYS_OPEN, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_MKDIRAT:
		return setIDMode(c, 2)
	case unix.SYS_OPENAT:
		return setIDMode(c, 3)
	case unix.SYS_MKNOD:
		return node(c, 1)
	case unix.SYS_MKNODAT:
		return node(c, 2)
	case unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR:
		if len(c.Args) < 2 || !bytes.HasPrefix(c.Args[1].Buf, []byte("user.")) {
			return "an extended attribute that is not the user's"
		}
	}
	return ""
}

func setIDMode(c plan.Call, at int) string {
	if len(c.Args) > at && (c.Args[at].Kind != plan.ArgInt || c.Args[at].Val&setID != 0) {
		return "a set-id file"
	}
	return ""
}

func node(c plan.Call, at int) string {
	if len(c.Args) > at && c.Args[at].Kind == plan.ArgInt {
		switch c.Args[at].Val & unix.S_IFMT {
		case 0, unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
			return setIDMode(c, at)
		}
	}
	return "a device"
}
