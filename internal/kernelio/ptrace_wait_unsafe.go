package kernelio

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// TaskEvent is what a wait for one task reported.
type TaskEvent struct {
	Exited bool // it is gone; Status is its exit status or the signal that killed it
	Killed bool // by a signal
	Status int
	// Of a stop: the signal, bit 7 set for system call stops
	// (PTRACE_O_TRACESYSGOOD), and the PTRACE_EVENT_*.
	Signal, Event int
}

// Codes of SIGCHLD (asm-generic/siginfo.h).
const (
	cldExited  = 1
	cldTrapped = 4
	cldStopped = 5
)

// cldSiginfo is the SIGCHLD arm of siginfo_t (asm-generic/siginfo.h).
type cldSiginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [abi.SizeofSiginfo - 28]byte
}

// PtraceWait looks whether task tid has stopped or ended, without blocking
// unless told to; ok is false when there is nothing to report.
//
// A stop is left to be reported again (WNOWAIT) until the task is resumed: the
// kernel keeps the signal of a signal-delivery-stop in what a wait takes away
// (exit_code, wait_task_stopped), so that otherwise the death of the tool
// after the wait would take the signal away from the task. An end is reported
// once.
func PtraceWait(tid int, block bool) (ev TaskEvent, ok bool, err error) {
	si, err := waitid(tid, stopsAndEnds|unix.WNOWAIT, block)
	if err != nil || si.pid == 0 {
		return ev, false, err
	}
	if ev = si.event(); ev.Exited {
		_, err = waitid(tid, unix.WEXITED|unix.WALL, false)
	}
	return ev, true, err
}

// ReapTracee takes the end of a tracee and says whether there was one. Any
// thread of the tool may call it. What a wait finds besides ends, whatever it
// asks for, are stops of tracees (wait_task_stopped): those stay.
func ReapTracee(tid int) bool {
	ev, ok, err := PtraceWait(tid, false)
	return err == nil && ok && ev.Exited
}

// PtraceTake is PtraceWait, but the stop is reported once, and its signal is
// lost unless the task is resumed with it.
func PtraceTake(tid int, block bool) (ev TaskEvent, ok bool, err error) {
	si, err := waitid(tid, stopsAndEnds, block)
	if err != nil || si.pid == 0 {
		return ev, false, err
	}
	return si.event(), true, nil
}

const stopsAndEnds = unix.WSTOPPED | unix.WEXITED | unix.WALL

func (si *cldSiginfo) event() TaskEvent {
	switch si.code {
	case cldTrapped, cldStopped:
		return TaskEvent{Signal: int(si.status & 0xff), Event: int(si.status >> 8)}
	}
	return TaskEvent{Exited: true, Killed: si.code != cldExited, Status: int(si.status)}
}

// waitid is waitid(2) on one task, tracees and threads included.
func waitid(tid, flags int, block bool) (si cldSiginfo, err error) {
	for {
		var e unix.Errno
		if block {
			_, _, e = unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&si)), uintptr(flags), 0, 0)
		} else {
			_, _, e = unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&si)), uintptr(flags|unix.WNOHANG), 0, 0)
		}
		switch e {
		case 0:
			return si, nil
		case unix.EINTR:
		default:
			return si, os.NewSyscallError("waitid", e)
		}
	}
}
