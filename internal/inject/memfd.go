package inject

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memfd makes a file in memory that no child inherits.
func memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readOnly opens the file again, for reading only.
func readOnly(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// above gives a copy of a descriptor with a number of at least n.
func above(fd, n int) (int, error) {
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, n)
	return up, os.NewSyscallError("fcntl", err)
}
