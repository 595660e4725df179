package kernelio

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// Kcmp compares a resource of two tasks (kcmp(2)): kind is an abi.Kcmp*
// constant, a and b are descriptors for abi.KcmpFile and else ignored. The
// result is 0 when they are the same object, and else 1 or 2 by an arbitrary
// order that does not change before the next boot; 3 is different without
// an order.
func Kcmp(pid1, pid2, kind int, a, b uint64) (int, error) {
	r, err := Syscall(unix.SYS_KCMP, Int(pid1), Int(pid2), Int(kind), Int(a), Int(b))
	if err != nil {
		return 0, failed(err, "kcmp", fmt.Sprintf("%d and %d, type %d, %d and %d", pid1, pid2, kind, a, b))
	}
	return int(r), nil
}

// SameFile says whether two descriptors are one open file description.
func SameFile(pid1, fd1, pid2, fd2 int) (bool, error) {
	r, err := Kcmp(pid1, pid2, abi.KcmpFile, uint64(fd1), uint64(fd2))
	return r == 0, err
}

// KcmpEpoll says whether descriptor fd of pid1 is the open file description
// that the epoll instance efd of pid2 has registered under the number tfd; of
// several under that number, the one at position toff.
func KcmpEpoll(pid1, pid2, fd, efd, tfd int, toff uint32) (bool, error) {
	slot := abi.KcmpEpollSlot{EFD: uint32(efd), TFD: uint32(tfd), Toff: toff}
	r, err := Syscall(unix.SYS_KCMP, Int(pid1), Int(pid2), Int(abi.KcmpEpollTFD), Int(fd), Buf(slot.Encode()))
	if err != nil {
		return false, failed(err, "kcmp", fmt.Sprintf("%d fd %d and %d %+v", pid1, fd, pid2, slot))
	}
	return r == 0, nil
}
