package restore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// A file may lie where the caller can't go: she may not search a directory on the
// way. Then nobody can look at it before the judgement, which is on the path that
// the image names, and what lies there is opened once, when it was granted. It
// must be what was dumped: that no link leads to it, and its device, inode and
// owner, are looked at on the descriptor that is used from then on.

// hidden is the file that an operation finds, if the caller can't reach it.
func (s *session) hidden(op plan.Op) *found {
	if _, ok := finds(op); !ok {
		return nil
	}
	f := s.files[op.(plan.Call).Out.String()]
	if f == nil || !f.hidden {
		return nil
	}
	return f
}

// unlinked resolves a path without symbolic links, so that the file is where the
// path says: in the tree that was granted (openat2(2)).
const unlinked = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// reach opens a hidden file by the grant.
func (s *session) reach(c plan.Call, f *found) error {
	if _, ok := s.made[c.Out]; ok {
		return nil // another record asked for the same
	}
	fd, err := kernelio.OpenBeneath(unix.AT_FDCWD, f.path, int(c.Args[2].Val), unlinked)
	if errors.Is(err, unix.ELOOP) {
		return &HostError{fmt.Sprintf("a symbolic link is on the way to %+q, which was granted by that path", f.path)}
	}
	if err != nil {
		return missing(err)
	}
	defer fd.Close()
	if err := s.identify(c, f, fd.Int()); err != nil {
		return err
	}
	s.learn(c, c.Out, int64(fd.Take()))
	return nil
}

// identify wants a hidden file to be the one that was dumped. A directory has
// nothing to tell it by but its path.
func (s *session) identify(c plan.Call, f *found, fd int) error {
	now := found{}
	if err := now.place(fd); err != nil {
		return err
	}
	if now.path != f.path {
		return &HostError{fmt.Sprintf("%+q is at %+q", f.path, now.path)}
	}
	was := s.located()[c.Out.String()]
	if was == nil && c.Args[2].Val&unix.O_DIRECTORY != 0 {
		return nil
	}
	if was == nil {
		return &HostError{fmt.Sprintf("nothing tells which file %+q was", f.path)}
	}
	dev, ino, owner := was.Location()
	if now.dev != dev || now.ino != ino || now.owner != uint32(owner) {
		return &HostError{fmt.Sprintf("%+q is another file than at the dump (inode %d of user %d, not %d of user %d)", f.path, now.ino, now.owner, ino, owner)}
	}
	return nil
}
