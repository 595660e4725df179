package inject

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return status{}, err
	}
	return parseStatus(text), nil
}

func parseStatus(text []byte) (st status) {
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":\t")
		switch name {
		case "State":
			st.state = (value + "?")[0]
		case "Tgid":
			st.tgid, _ = strconv.Atoi(value)
		case "PPid":
			st.parent, _ = strconv.Atoi(value)
		case "TracerPid":
			st.tracer, _ = strconv.Atoi(value)
		case "Seccomp":
			st.seccomp, _ = strconv.Atoi(value)
		case "SigPnd", "ShdPnd":
			n, _ := strconv.ParseUint(value, 16, 64)
			st.pending |= abi.SigSet(n)
		case "SigCgt":
			n, _ := strconv.ParseUint(value, 16, 64)
			st.caught = abi.SigSet(n)
		case "x86_Thread_features":
			st.features = value
		}
	}
	return st
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
