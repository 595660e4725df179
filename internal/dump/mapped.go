package dump

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// mappedFile tells mapped files apart as maps shows them, which saves
// opening thousands of links that lead to the same few files.
type mappedFile struct {
	dev, ino uint64
	path     string
}

// mapped is the inode behind a mapping, by the first way there is to it.
//
// The link in map_files leads to the very file, also when it was deleted or
// replaced, but following it wants CAP_CHECKPOINT_RESTORE in the initial user
// namespace (proc_map_files_get_link in fs/proc/base.c). Reading the link does
// not: where the path that it names leads to the same device and inode, it is
// as good. So is a descriptor that the tree itself has of the file. Where there
// is none either, the contents travel, as the tree sees them (unheld.go).
func (s *session) mapped(t *kind.TaskSite, v abi.SmapsVMA, known map[mappedFile]*kind.InodeSite) (*kind.InodeSite, error) {
	key := mappedFile{v.Dev, v.Inode, v.Path}
	if i := known[key]; i != nil {
		return i, nil
	}
	link := fmt.Sprintf("map_files/%x-%x", v.Start, v.End)
	i, err := s.byLink(t, link)
	if errors.Is(err, unix.EPERM) {
		i, err = s.withoutLink(t, &v, link)
	}
	if err != nil {
		return nil, err
	}
	known[key] = i
	return i, nil
}

// byLink follows the link in map_files. Without the capability no link can be
// followed, so that one try is enough.
func (s *session) byLink(t *kind.TaskSite, link string) (*kind.InodeSite, error) {
	if s.linkless {
		return nil, unix.EPERM
	}
	i, err := s.followed(t, link, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) { // a file that the caller may not read
		i, err = s.followed(t, link, unix.O_PATH)
	}
	s.linkless = errors.Is(err, unix.EPERM)
	return found(i, kind.MapLink), err
}

// followed is inodeAt with what was lent for it. It runs on the tracer's
// thread, which is locked.
func (s *session) followed(t *kind.TaskSite, link string, flags int) (i *kind.InodeSite, err error) {
	if s.lent == 0 {
		return s.inodeAt(t, link, flags)
	}
	err = kernelio.WithEffective(s.lent, func() error {
		i, err = s.inodeAt(t, link, flags)
		return err
	})
	return i, err
}

// found notes by which way an inode was found first.
func found(i *kind.InodeSite, r kind.MapRoute) *kind.InodeSite {
	if i != nil && i.Route == kind.MapNone {
		i.Route = r
	}
	return i
}

func (s *session) withoutLink(t *kind.TaskSite, v *abi.SmapsVMA, link string) (*kind.InodeSite, error) {
	// maps writes a newline in a path as \012, the link as it is.
	path, err := s.byPID[int(t.PID)].dir.Link(link)
	if err != nil {
		return nil, err
	}
	if i := s.byOpen(v, path); i != nil {
		return found(i, kind.MapOpen), nil
	}
	i, err := s.byPath(t, v, path)
	if i != nil || err != nil {
		return found(i, kind.MapPath), err
	}
	i, err = s.byMemory(t, v, path)
	return found(i, kind.MapMemory), err
}

// byOpen finds a mapped file among what the tree has open; nil if it is not
// there.
func (s *session) byOpen(v *abi.SmapsVMA, path string) *kind.InodeSite {
	if in := s.inodeOf[inodeKey{v.Dev, v.Inode}]; in != nil {
		return in.site
	}
	bare := strings.TrimSuffix(path, " (deleted)")
	for _, i := range s.inodes {
		if i.Stat.Ino == v.Inode && i.Path == bare && s.mapsAs(s.held[i].fd, v) {
			return i
		}
	}
	return nil
}

// byPath opens the path of a mapped file; nil if it does not lead there. A
// file may well have a name that ends in " (deleted)".
func (s *session) byPath(t *kind.TaskSite, v *abi.SmapsVMA, path string) (*kind.InodeSite, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, nil
	}
	fd, err := kernelio.OpenPath(path, unix.O_PATH|unix.O_NOFOLLOW)
	if kernelio.IsGone(err) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := statFD(fd.Int())
	if err != nil || st.Ino != v.Inode || st.Dev != v.Dev && (st.Format() != unix.S_IFREG || !s.mapsAs(fd.Int(), v)) {
		fd.Close()
		return nil, err
	}
	s.keep(fd)
	return s.inode(t, st, path, fd.Int(), false), nil
}

// mapsAs says whether a mapping of the file would look like v in maps.
func (s *session) mapsAs(fd int, v *abi.SmapsVMA) bool {
	if fd == noFD {
		return false
	}
	dev, ino, err := kernelio.MappedAs(fd)
	return err == nil && dev == v.Dev && ino == v.Inode
}

// byMemory makes the site of an inode that nothing but its mappings leads to.
func (s *session) byMemory(t *kind.TaskSite, v *abi.SmapsVMA, path string) (*kind.InodeSite, error) {
	bare, deleted := strings.CutSuffix(path, " (deleted)")
	fs, err := s.filesystem(t, v.Dev)
	if err == nil && v.Flags.Has(abi.VMFlagHugeTLB) {
		fs = hugeFS(path)
	}
	switch {
	case err != nil:
		return nil, err
	case !strings.HasPrefix(path, "/"), fs == 0, v.Flags.Has(abi.VMFlagPFNMap), v.Flags.Has(abi.VMFlagIO):
		return nil, &kind.Unsupported{Why: "nothing that you may follow leads to the mapped object", Hint: mapFilesHint}
	case !deleted && v.Shared:
		return nil, &kind.Unsupported{Why: "it is shared with a file whose path does not lead there, for you or any more", Hint: mapFilesHint}
	}
	ids := t.Status
	st := kind.Stat{Dev: v.Dev, Ino: v.Inode, Mode: unix.S_IFREG | 0o600, FSType: fs,
		UID: credmap.UID(ids.UID.FS), GID: credmap.GID(ids.GID.FS)}
	if strings.HasPrefix(path, "/memfd:") && fs != otherFS {
		st.Mode = unix.S_IFREG | 0o777 // as memfd_create(2) makes them
	}
	return s.inode(t, st, bare+" (deleted)", noFD, false), nil
}

const mapFilesHint = "following the links of map_files takes CAP_CHECKPOINT_RESTORE: run ckpt as root, or setcap cap_checkpoint_restore=ep on it"

// filesystem is the type of the filesystem with this device number, as
// statfs(2) would say it: TMPFS_MAGIC, otherFS, or 0 for a mount that only the
// kernel itself uses.
func (s *session) filesystem(t *kind.TaskSite, dev uint64) (uint32, error) {
	memory, err := kernelio.MemoryDevice()
	if err != nil || dev == memory {
		return unix.TMPFS_MAGIC, err
	}
	mounts, err := s.byPID[int(t.PID)].dir.Mounts()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(mounts, func(m abi.Mount) bool { return m.Dev == dev })
	switch {
	case i < 0:
		return 0, nil
	case mounts[i].Type == "tmpfs" || mounts[i].Type == "devtmpfs":
		return unix.TMPFS_MAGIC, nil
	}
	return otherFS, nil
}

// hugeFS is the filesystem of mapped huge pages: anonymous ones and memfds are on
// none that is mounted (hugetlb_file_setup in fs/hugetlbfs/inode.c). 0: a file's,
// which can be reached by its path alone.
func hugeFS(path string) uint32 {
	if path == "/anon_hugepage (deleted)" || strings.HasPrefix(path, "/memfd:") {
		return unix.HUGETLBFS_MAGIC
	}
	return 0
}

// otherFS stands for a filesystem of which it matters only that it is none of
// those with a meaning of their own.
const otherFS = 1

// unreached refuses a mapping whose object can't be found; other errors end
// the dump.
func (s *session) unreached(m *kind.MappingSite, err error) error {
	name := fmt.Sprintf("mapping %x-%x %s of %s", m.VMA.Start, m.VMA.End, quote(m.VMA.Path), taskName(m.MM.Task))
	var no *kind.Unsupported
	if !errors.As(err, &no) {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.refuse(name, no)
	return nil
}
