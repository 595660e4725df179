package kernelio

import (
	"golang.org/x/sys/unix"
)

// MemoryFile makes an anonymous file in memory (memfd_create(2)); flags are
// unix.MFD_* besides MFD_CLOEXEC.
func MemoryFile(name string, flags int) (*FD, error) {
	fd, err := againFor(func() (int, error) { return unix.MemfdCreate(name, flags|unix.MFD_CLOEXEC) })
	if err != nil {
		return nil, failed(err, "memfd_create", name)
	}
	return NewFD(fd, "memfd "+name), nil
}

// TmpFile makes a file without a name, mode 0600, in the filesystem of dir
// (O_TMPFILE).
func TmpFile(dir string) (*FD, error) { return tmpFileAt(unix.AT_FDCWD, dir) }

func tmpFileAt(dirfd int, dir string) (*FD, error) {
	fd, err := againFor(func() (int, error) {
		return unix.Openat(dirfd, dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, failed(err, "open O_TMPFILE", dir)
	}
	return NewFD(fd, "unnamed file in "+dir), nil
}
