package kernelio

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// IgnoreStops spares this process the SIGCHLD for each stop of a task that it
// traces (SA_NOCLDSTOP in sigaction(2)); that for the end of a child still
// comes, and waits report both. A tracer of many threads gets thousands.
func IgnoreStops() error {
	old := make([]byte, abi.SizeofSigaction)
	if _, err := Syscall(unix.SYS_RT_SIGACTION, Int(unix.SIGCHLD), Arg{}, Buf(old), Int(abi.SizeofSigSet)); err != nil {
		return failed(err, "sigaction", "SIGCHLD")
	}
	act := abi.DecodeSigaction(old)
	act.Flags |= abi.SaNocldstop
	_, err := Syscall(unix.SYS_RT_SIGACTION, Int(unix.SIGCHLD), Buf(act.Encode()), Arg{}, Int(abi.SizeofSigSet))
	return failed(err, "sigaction", "SIGCHLD")
}
