package kernelio

import (
	"golang.org/x/sys/unix"
)

// FileStat is what statx(2) and fstatfs(2) say of a file.
type FileStat struct {
	Dev     uint64 // unix.Mkdev
	Ino     uint64
	Mode    uint32 // S_IFMT and permissions
	Nlink   uint64
	UID     uint32
	GID     uint32
	Rdev    uint64 // unix.Mkdev, of a device file
	Size    int64
	Blocks  int64 // of 512 bytes
	Blksize int64
	Mtime   int64 // nanoseconds since 1970
	Ctime   int64
	MntID   uint64
	// FSType is the f_type of statfs(2), for example unix.TMPFS_MAGIC; only
	// Fstat fills it in.
	FSType uint32
}

// Type is the S_IFMT part of the mode.
func (f *FileStat) Type() uint32 { return f.Mode & unix.S_IFMT }

// SameFile says whether both are one inode.
func (f *FileStat) SameFile(g *FileStat) bool { return f.Dev == g.Dev && f.Ino == g.Ino }

// Fstat says what descriptor fd, which may be O_PATH, leads to.
func Fstat(fd int) (FileStat, error) {
	f, err := statx(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return f, failed(err, "statx fd", fd)
	}
	var s unix.Statfs_t
	err = again(func() error { return unix.Fstatfs(fd, &s) })
	f.FSType = uint32(s.Type)
	return f, failed(err, "fstatfs fd", fd)
}

// StatAt says what a path below dirfd leads to, without following a link at
// its end and without the filesystem type.
func StatAt(dirfd int, path string) (FileStat, error) {
	f, err := statx(dirfd, path, unix.AT_SYMLINK_NOFOLLOW)
	return f, failed(err, "statx", path)
}

func statx(dirfd int, path string, flags int) (FileStat, error) {
	var s unix.Statx_t
	err := again(func() error {
		return unix.Statx(dirfd, path, flags|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &s)
	})
	return FileStat{
		Dev: unix.Mkdev(s.Dev_major, s.Dev_minor), Ino: s.Ino, Mode: uint32(s.Mode), Nlink: uint64(s.Nlink),
		UID: s.Uid, GID: s.Gid, Rdev: unix.Mkdev(s.Rdev_major, s.Rdev_minor),
		Size: int64(s.Size), Blocks: int64(s.Blocks), Blksize: int64(s.Blksize),
		Mtime: s.Mtime.Sec*1e9 + int64(s.Mtime.Nsec), Ctime: s.Ctime.Sec*1e9 + int64(s.Ctime.Nsec),
		MntID: s.Mnt_id,
	}, err
}

// Access asks whether the real user and group of this process, whatever its
// effective ones are, may use a file in a mode (R_OK, W_OK): access(2). With
// an empty path it is the file that dirfd leads to, which may be O_PATH.
func Access(dirfd int, path string, mode int) error {
	flags := 0
	if path == "" {
		flags = unix.AT_EMPTY_PATH
	}
	_, err := Syscall(unix.SYS_FACCESSAT2, Int(dirfd), Str(path), Int(mode), Int(flags))
	return failed(err, "access", path)
}
