package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenPath opens a path with O_* flags; O_CLOEXEC is added.
func OpenPath(path string, flags int) (*FD, error) { return openat(unix.AT_FDCWD, path, flags) }

// OpenAt opens a path below the directory dirfd; O_CLOEXEC is added.
func OpenAt(dirfd int, path string, flags int) (*FD, error) { return openat(dirfd, path, flags) }

func openat(dirfd int, path string, flags int) (*FD, error) {
	fd, err := againFor(func() (int, error) { return unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, failed(err, "open", path)
	}
	return NewFD(fd, path), nil
}

// ReadFile reads a whole file, one of /proc above all. Unlike os.ReadFile it
// leaves the runtime's poller alone, which files such as those of /proc/sys set
// going, for nothing.
func ReadFile(path string) ([]byte, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	buf := make([]byte, 4096)
	return readAll(fd, &buf)
}

// OpenBeneath opens a path below dirfd by openat2(2) with RESOLVE_* flags;
// O_CLOEXEC is added. EAGAIN, which the kernel gives when a rename raced with
// the resolution, is tried a few times.
func OpenBeneath(dirfd int, path string, flags int, resolve uint64) (*FD, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for try := 0; ; try++ {
		fd, err := againFor(func() (int, error) { return unix.Openat2(dirfd, path, &how) })
		if err == unix.EAGAIN && try < 16 {
			continue
		}
		if err != nil {
			return nil, failed(err, "openat2", path)
		}
		return NewFD(fd, path), nil
	}
}

// Reopen opens the file of fd, which may be O_PATH, anew with O_* flags. It
// goes through /proc/self/fd, which also works for unlinked files and in a
// process that is not dumpable.
func Reopen(fd, flags int) (*FD, error) {
	return openat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), flags)
}
