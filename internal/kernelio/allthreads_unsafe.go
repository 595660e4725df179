package kernelio

import (
	"runtime"
	"syscall"
)

// allThreads makes a call in every thread of this process. The runtime ends
// the program when the threads disagree about the result.
func allThreads(nr uintptr, args ...Arg) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	var a [6]uintptr
	for i, arg := range args {
		a[i] = uintptr(arg.resolve(&pins))
	}
	_, _, errno := syscall.AllThreadsSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}
