package dump

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type inodeKey struct{ dev, ino uint64 }

// inode is an InodeSite with the descriptor that the tool holds of it, noFD if
// it has none, and whether that one can be read.
type inode struct {
	site     *kind.InodeSite
	fd       int
	readable bool
	surveys  []*survey // of an unheld one
}

const noFD = -1

// anonymous says whether a descriptor leads to no object of its own: the
// files of fs/anon_inodes.c share one inode, and those of pidfs and nsfs
// name what lives elsewhere.
func anonymous(link string) bool {
	return strings.HasPrefix(link, "anon_inode:") || strings.HasPrefix(link, "socket:")
}

func (s *session) inodeOfFile(f *kind.FileSite, fd *kernelio.FD) error {
	if anonymous(f.Link) {
		return nil
	}
	readable := f.Info.Flags&(unix.O_PATH|unix.O_WRONLY) == 0
	i := s.inode(f.Task, f.Stat, f.Link, fd.Int(), readable)
	i.Files = append(i.Files, f)
	f.Inode = i
	return nil
}

// inode finds or makes the site of an inode. The best descriptor that is
// offered stays: one that can be read.
func (s *session) inode(t *kind.TaskSite, st kind.Stat, link string, fd int, readable bool) *kind.InodeSite {
	key := inodeKey{st.Dev, st.Ino}
	in := s.inodeOf[key]
	if in == nil {
		name, deleted := nameOf(link, st)
		in = &inode{fd: noFD, site: &kind.InodeSite{ID: uint32(len(s.inodes) + 1), Task: t, Path: name, Deleted: deleted, Stat: st, Unheld: fd == noFD}}
		in.site.Do = s.inodeDoer(in)
		s.inodeOf[key] = in
		s.held[in.site] = in
		s.inodes = append(s.inodes, in.site)
	}
	if fd != noFD && in.site.Unheld {
		in.site.Stat, in.site.Unheld = st, false
	}
	if in.fd == noFD || readable && !in.readable {
		in.fd, in.readable = fd, readable
	}
	return in.site
}

// nameOf reads a link of /proc. What was deleted may have another name, in the
// same directory as a rule; and a name may end just as the kernel says that
// something was deleted.
func nameOf(link string, st kind.Stat) (name string, deleted bool) {
	name, gone := strings.CutSuffix(link, " (deleted)")
	if !gone || st.Nlink == 0 {
		return name, gone
	}
	dir := path.Dir(link)
	if other := kernelio.NameIn(dir, st.Dev, st.Ino); other != "" {
		return path.Join(dir, other), false
	}
	return link, false
}

// inodeAt is the inode that a link of /proc leads to: exe, cwd, map_files/….
func (s *session) inodeAt(t *kind.TaskSite, name string, flags int) (*kind.InodeSite, error) {
	p := s.byPID[int(t.PID)]
	fd, err := p.dir.Open(name, flags)
	if errors.Is(err, unix.ENXIO) { // what can only be made, not opened: secret memory, AIO rings
		flags = unix.O_PATH
		fd, err = p.dir.Open(name, flags)
	}
	if err != nil {
		return nil, err
	}
	i, err := s.inodeBy(t, name, fd, flags&unix.O_PATH == 0)
	if err != nil || s.held[i].fd != fd.Int() { // it is known, by as good a descriptor
		fd.Close()
		return i, err
	}
	s.keep(fd)
	return i, nil
}

func (s *session) inodeBy(t *kind.TaskSite, name string, fd *kernelio.FD, readable bool) (*kind.InodeSite, error) {
	st, err := statFD(fd.Int())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	link, err := s.byPID[int(t.PID)].dir.Link(name)
	if err != nil {
		return nil, err
	}
	return s.inode(t, st, link, fd.Int(), readable), nil
}

func statFD(fd int) (kind.Stat, error) {
	st, err := kernelio.Fstat(fd)
	if err != nil {
		return kind.Stat{}, err
	}
	return kind.Stat{Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: st.Nlink, UID: credmap.UID(st.UID), GID: credmap.GID(st.GID),
		Size: st.Size, Mtime: st.Mtime, Ctime: st.Ctime, Rdev: st.Rdev, FSType: st.FSType}, nil
}
