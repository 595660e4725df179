package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Fcntl makes a fcntl(2) call whose argument is a number.
func Fcntl(fd, cmd, arg int) (int, error) {
	r, err := againFor(func() (int, error) { return unix.FcntlInt(uintptr(fd), cmd, arg) })
	if err != nil {
		return -1, failed(err, "fcntl", fmt.Sprintf("%d of fd %d with %d", cmd, fd, arg))
	}
	return r, nil
}

// FcntlBuf makes a fcntl(2) call whose argument is a struct, in place.
func FcntlBuf(fd, cmd int, b []byte) error {
	_, err := againFor(func() (int64, error) { return Syscall(unix.SYS_FCNTL, Int(fd), Int(cmd), Buf(b)) })
	return failed(err, "fcntl", fmt.Sprintf("%d of fd %d", cmd, fd))
}

// Ioctl makes an ioctl(2) call whose argument is a struct, in place, or
// nothing.
func Ioctl(fd int, request uint32, b []byte) (int64, error) {
	r, err := againFor(func() (int64, error) { return Syscall(unix.SYS_IOCTL, Int(fd), Int(request), Buf(b)) })
	return r, failed(err, "ioctl", fmt.Sprintf("%#x of fd %d", request, fd))
}

// IoctlInt makes an ioctl(2) call whose argument is a number.
func IoctlInt(fd int, request uint32, arg uint64) (int64, error) {
	r, err := againFor(func() (int64, error) { return Syscall(unix.SYS_IOCTL, Int(fd), Int(request), Int(arg)) })
	return r, failed(err, "ioctl", fmt.Sprintf("%#x of fd %d with %#x", request, fd, arg))
}

// DupAbove duplicates fd to the lowest free number from low on, close-on-exec.
// The name is the copy's.
func DupAbove(fd, low int, name string) (*FD, error) {
	n, err := Fcntl(fd, unix.F_DUPFD_CLOEXEC, low)
	if err != nil {
		return nil, err
	}
	return NewFD(n, name), nil
}

// RoomForFiles makes the table of this process's descriptors large enough for
// n. In a process of several threads the kernel waits for all processors
// whenever it makes the table larger (alloc_fdtable in fs/file.c), which takes
// milliseconds: better once, and beside other work.
func RoomForFiles(n int) {
	const born = 64 // NR_OPEN_DEFAULT
	if n < born {
		return
	}
	fd, err := OpenPath("/", unix.O_PATH)
	if err != nil {
		return
	}
	defer fd.Close()
	if high, err := DupAbove(fd.Int(), n, "room"); err == nil {
		high.Close()
	}
}

// Dup3 makes n a duplicate of fd, closing what n was (dup3(2)); flags is 0 or
// unix.O_CLOEXEC.
func Dup3(fd, n, flags int) error {
	err := again(func() error { return unix.Dup3(fd, n, flags) })
	return failed(err, "dup3", fd, " to ", n)
}

// CloseRange closes the descriptors first to last (close_range(2)); flags are
// unix.CLOSE_RANGE_*.
func CloseRange(first, last, flags uint) error {
	return failed(unix.CloseRange(first, last, flags), "close_range", first, "-", last)
}

// Readable is how many bytes wait to be read (FIONREAD, which on Linux is
// TIOCINQ).
func Readable(fd int) (int, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n, failed(err, "ioctl FIONREAD fd", fd)
}
