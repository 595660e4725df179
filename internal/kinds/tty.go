package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type ttyRecord struct {
	Streams streamsRecord `cbor:"1,keyasint"`
	// Controlling says that it was opened as /dev/tty: whatever terminal
	// controls the session. Flags are then those of the opening.
	Controlling bool   `cbor:"2,keyasint,omitempty"`
	Flags       uint32 `cbor:"3,keyasint,omitempty"`
}

const ttyFlags = unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_APPEND | unix.O_ASYNC | oLargefile | unix.O_NOFOLLOW | unix.O_SYNC

// TTY claims terminals: the tree's standard streams become rstr's own, and
// /dev/tty is rstr's controlling terminal, if that is for the tree. The settings of a terminal
// (termios(3)) belong to it, not to the tree, and stay as they are.
func TTY() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, ttyRecord]{
		Name:   "tty",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classTTY),
		Dump:   dumpTTY,
		Check:  checkTTY,
		Plan:   planTTY,
	})
}

// TTYInode claims the inode of a terminal, of which nothing is kept.
func TTYInode() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, noRecord]{
		Name:   "ttyinode",
		At:     plan.Inode,
		Claims: true,
		Match: func(i *kind.InodeSite) bool {
			return i.Stat.Format() == unix.S_IFCHR && deviceClass(i.Stat.Rdev) == classTTY
		},
		Dump: func(kind.Dump, *kind.InodeSite, []plan.Result) (noRecord, error) { return noRecord{}, nil },
		Plan: func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

func dumpTTY(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (ttyRecord, error) {
	if streamsOf(f) == 0 && f.Stat.Rdev == unix.Mkdev(5, 0) {
		flags := f.Info.Flags &^ unix.O_CLOEXEC
		if flags&^ttyFlags != 0 {
			return ttyRecord{}, kind.Unsupportedf("/dev/tty opened with the flags %#o", flags)
		}
		return ttyRecord{Controlling: true, Flags: flags}, nil
	}
	s, err := dumpStreams(f, "a terminal that is none of the tree's standard streams")
	return ttyRecord{Streams: s}, err
}

func checkTTY(r ttyRecord) error {
	if !r.Controlling {
		if r.Flags != 0 {
			return errors.New("flags of a standard stream")
		}
		return checkStreams(r.Streams)
	}
	if r.Streams != (streamsRecord{}) || r.Flags&^ttyFlags != 0 {
		return fmt.Errorf("controlling terminal with flags %#o and streams %v", r.Flags, r.Streams)
	}
	return nil
}

func planTTY(r ttyRecord, h *kind.Host) []plan.Step {
	if !r.Controlling {
		return planStreams(r.Streams, h)
	}
	path, text := "/dev/tty", "open rstr's controlling terminal"
	if h.NoTerminal {
		path, text = "/dev/null", "open /dev/null in the place of a controlling terminal"
	}
	return oneStep(plan.Create, text, plan.Call{
		Nr:   unix.SYS_OPENAT,
		Args: []plan.Arg{atCwd, plan.Str(path), plan.Int(r.Flags&^onlyAtOpen | unix.O_CLOEXEC | unix.O_NOCTTY)},
		Out:  h.Self,
	})
}
