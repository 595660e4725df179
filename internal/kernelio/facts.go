package kernelio

import (
	"golang.org/x/sys/unix"
)

// FileFacts is what statx(2) and fstatfs(2) say of a file.
type FileFacts struct {
	Dev     uint64 // unix.Mkdev
	Ino     uint64
	Mode    uint32 // S_IFMT and permissions
	Nlink   uint32
	UID     uint32
	GID     uint32
	Rdev    uint64 // unix.Mkdev, of a device file
	Size    int64
	Blocks  int64 // of 512 bytes
	Blksize int64
	MtimeNS int64 // nanoseconds since 1970
	CtimeNS int64
	MntID   uint64
	// FSType is the f_type of statfs(2), for example unix.TMPFS_MAGIC; only
	// Facts fills it in.
	FSType int64
}

// Type is the S_IFMT part of the mode.
func (f *FileFacts) Type() uint32 { return f.Mode & unix.S_IFMT }

// SameFile says whether both are one inode.
func (f *FileFacts) SameFile(g *FileFacts) bool { return f.Dev == g.Dev && f.Ino == g.Ino }

// Facts gives the facts of descriptor fd, which may be O_PATH.
func Facts(fd int) (FileFacts, error) {
	f, err := statx(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return f, failed(err, "statx fd", fd)
	}
	var s unix.Statfs_t
	err = again(func() error { return unix.Fstatfs(fd, &s) })
	f.FSType = s.Type
	return f, failed(err, "fstatfs fd", fd)
}

// FactsAt gives the facts of a path below dirfd, without following a link at
// its end and without the filesystem type.
func FactsAt(dirfd int, path string) (FileFacts, error) {
	f, err := statx(dirfd, path, unix.AT_SYMLINK_NOFOLLOW)
	return f, failed(err, "statx", path)
}

func statx(dirfd int, path string, flags int) (FileFacts, error) {
	var s unix.Statx_t
	err := again(func() error {
		return unix.Statx(dirfd, path, flags|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &s)
	})
	return FileFacts{
		Dev: unix.Mkdev(s.Dev_major, s.Dev_minor), Ino: s.Ino, Mode: uint32(s.Mode), Nlink: s.Nlink,
		UID: s.Uid, GID: s.Gid, Rdev: unix.Mkdev(s.Rdev_major, s.Rdev_minor),
		Size: int64(s.Size), Blocks: int64(s.Blocks), Blksize: int64(s.Blksize),
		MtimeNS: s.Mtime.Sec*1e9 + int64(s.Mtime.Nsec), CtimeNS: s.Ctime.Sec*1e9 + int64(s.Ctime.Nsec),
		MntID: s.Mnt_id,
	}, err
}
