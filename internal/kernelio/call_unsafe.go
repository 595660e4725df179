package kernelio

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Syscall makes the system call nr with at most six arguments and returns the
// kernel's result. The error is a bare unix.Errno: the caller knows what the
// call was about. It is not repeated on EINTR.
//
// Buffers are pinned while the call runs. Pinning makes them escape to the
// heap, which does not move, so that their addresses may be stored as numbers
// in other buffers; a pointer that passes through an ordinary function as a
// uintptr would go stale when the stack is moved.
func Syscall(nr uintptr, args ...Arg) (int64, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	var a [6]uintptr
	for i, arg := range args {
		a[i] = uintptr(arg.resolve(&pins))
	}
	r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	runtime.KeepAlive(args)
	if errno != 0 {
		return -int64(errno), errno
	}
	return int64(r), nil
}

// Raw makes a system call with plain numbers and returns the kernel's result,
// -errno for an error. Pointers among args are the caller's to pin.
func Raw(nr uintptr, args [6]uintptr) int64 {
	r, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	if errno != 0 {
		return -int64(errno)
	}
	return int64(r)
}

// resolve gives the value of the argument, after its relocations.
func (a Arg) resolve(pins *runtime.Pinner) uint64 {
	if a.Buf == nil {
		return a.Val
	}
	for _, r := range a.Relocs {
		r.store(a.Buf, r.Arg.resolve(pins))
	}
	p := unsafe.SliceData(a.Buf)
	pins.Pin(p)
	return uint64(uintptr(unsafe.Pointer(p)))
}
