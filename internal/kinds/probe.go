package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// The functions of this file ask the kernel about an object through the
// descriptor that the tool holds of it, in ways that change nothing.

// self is the descriptor that the tool holds of a description.
func self(f *kind.FileSite) plan.Arg { return plan.FD(f.Ref().Main()) }

// poll says which of the events of poll(2) are there now.
func poll(do kind.Doer, fd plan.Arg, events uint16) (uint16, error) {
	b := make([]byte, 8) // struct pollfd: int fd; short events, revents
	binary.LittleEndian.PutUint16(b[4:], events)
	r, err := do(plan.Call{Nr: unix.SYS_PPOLL, Args: []plan.Arg{
		plan.InOut(b, plan.Reloc{Off: 0, Size: 4, Arg: fd}), plan.Int(1),
		plan.Buf(make([]byte, 16)), plan.Int(0), plan.Int(0)}}) // a timeout of 0, no mask
	if err != nil {
		return 0, fmt.Errorf("polling: %w", err)
	}
	return binary.LittleEndian.Uint16(r.Out[0][6:]), nil
}

// ioctlInt reads an int by ioctl(2), such as FIONREAD.
func ioctlInt(do kind.Doer, fd plan.Arg, request uint32) (int32, error) {
	r, err := do(plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{fd, plan.Int(request), plan.Out(4)}})
	if err != nil {
		return 0, fmt.Errorf("ioctl %#x: %w", request, err)
	}
	return int32(binary.LittleEndian.Uint32(r.Out[0])), nil
}

// fcntl asks a question of fcntl(2) that takes a number.
func fcntl(do kind.Doer, fd plan.Arg, cmd int) (int64, error) {
	r, err := do(plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{fd, plan.Int(cmd), plan.Int(0)}})
	if err != nil {
		return 0, fmt.Errorf("fcntl %d: %w", cmd, err)
	}
	return r.Ret, nil
}

// readOwn reads up to n bytes from a descriptor that Do made. Nothing there
// to read gives no bytes and no error.
func readOwn(do kind.Doer, fd int64, n int) ([]byte, error) {
	r, err := do(plan.Call{Nr: unix.SYS_READ, Args: []plan.Arg{plan.Int(fd), plan.Out(n), plan.Int(n)}})
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return r.Out[0][:r.Ret], nil
}

// closeOwn closes a descriptor that Do made; there is nothing to learn from
// an error.
func closeOwn(do kind.Doer, fd int64) {
	do(plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.Int(fd)}})
}

// readFile reads a file that the tool can open, such as one below /proc.
func readFile(do kind.Doer, path string) ([]byte, error) {
	r, err := do(plan.Call{Nr: unix.SYS_OPENAT, Args: []plan.Arg{
		atCwd, plan.Str(path), plan.Int(unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK)}})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer closeOwn(do, r.Ret)
	var all []byte
	for {
		b, err := readOwn(do, r.Ret, 1<<12)
		if err != nil || len(b) == 0 {
			return all, err
		}
		all = append(all, b...)
	}
}

// pair takes the two descriptors out of what pipe2(2) or socketpair(2) filled in.
func pair(b []byte) (int64, int64) {
	return int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
}
