package kinds

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// UnsupportedInode claims the inodes that can't be saved, to say what they are.
func UnsupportedInode() kind.Kind {
	return claimingRefusal("unsupportedinode", plan.Inode, inodes(inodeUnsupported), whyInode)
}

// claimingRefusal is refusal for what nobody else claims.
func claimingRefusal[S any](name string, at plan.Site, match func(S) bool, why func(S) string) kind.Kind {
	return kind.New(kind.Spec[S, noRecord]{
		Name:   name,
		At:     at,
		Claims: true,
		Match:  match,
		Dump: func(_ kind.Dump, s S, _ []plan.Result) (noRecord, error) {
			return noRecord{}, kind.Unsupportedf("%s", why(s))
		},
		Check: func(noRecord) error { return fmt.Errorf("no image holds a record of this kind") },
		Plan:  func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

func whyInode(i *kind.InodeSite) string {
	switch i.Stat.Format() {
	case unix.S_IFREG:
		return whyRegular(i)
	case unix.S_IFDIR:
		return "a deleted directory"
	case unix.S_IFCHR:
		if isMemDevice(unix.Major(i.Stat.Rdev), unix.Minor(i.Stat.Rdev)) {
			return "a deleted device file"
		}
		return fmt.Sprintf("character device %d:%d", unix.Major(i.Stat.Rdev), unix.Minor(i.Stat.Rdev))
	case unix.S_IFBLK:
		return fmt.Sprintf("block device %d:%d", unix.Major(i.Stat.Rdev), unix.Minor(i.Stat.Rdev))
	case unix.S_IFLNK:
		return "a deleted symbolic link"
	}
	return fmt.Sprintf("a file of type %#o", i.Stat.Format())
}

const sysvWords = "System V shared memory (shmget)"

func whyRegular(i *kind.InodeSite) string {
	switch {
	case strings.HasPrefix(i.Path, "/SYSV"):
		return sysvWords
	case strings.HasPrefix(i.Path, "/[aio]"):
		return "a context of asynchronous input and output (io_setup)"
	case i.Stat.FSType == unix.SECRETMEM_MAGIC:
		return "secret memory (memfd_secret)"
	case i.Stat.FSType == mqueueMagic:
		return "a POSIX message queue (mq_open)"
	case i.Stat.FSType == unix.HUGETLBFS_MAGIC:
		return "a deleted file of huge pages"
	case strings.HasPrefix(i.Path, "anon_inode:"):
		return "memory of " + strings.TrimPrefix(i.Path, "anon_inode:")
	}
	return fmt.Sprintf("an object that has no path (%+q)", i.Path)
}
