package inject

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// status is what this package wants of /proc/TID/status.
type status struct {
	state    byte
	tgid     int
	parent   int
	tracer   int
	seccomp  int
	pending  abi.SigSet // the thread's and the process's
	caught   abi.SigSet
	features string // x86_Thread_features: shstk, wrss
}

func readStatus(tid int) (status, error) {
	var buf [8 << 10]byte
	path := fmt.Sprintf("/proc/%d/status", tid)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return status{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return status{}, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return parseStatus(buf[:n]), nil
}

func parseStatus(text []byte) (st status) {
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":\t"))
		switch string(name) {
		case "State":
			st.state = (string(value) + "?")[0]
		case "Tgid":
			st.tgid = number(value)
		case "PPid":
			st.parent = number(value)
		case "TracerPid":
			st.tracer = number(value)
		case "Seccomp":
			st.seccomp = number(value)
		case "SigPnd", "ShdPnd":
			st.pending |= signals(value)
		case "SigCgt":
			st.caught = signals(value)
		case "x86_Thread_features":
			st.features = string(value)
		}
	}
	return st
}

func number(b []byte) int {
	n, _ := strconv.Atoi(string(b))
	return n
}

func signals(b []byte) abi.SigSet {
	n, _ := strconv.ParseUint(string(b), 16, 64)
	return abi.SigSet(n)
}

// where describes what a task is doing, for an error.
func where(tid int) string {
	st, err := readStatus(tid)
	if err != nil {
		return ""
	}
	call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
	nr, _, _ := strings.Cut(strings.TrimSpace(string(call)), " ")
	return fmt.Sprintf(" (state %c, system call %s)", st.state, nr)
}
