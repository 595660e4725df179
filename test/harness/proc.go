package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tree lists pid and its descendants, parents before children; nothing when pid is gone.
func Tree(pid int) []int {
	if !Exists(pid) {
		return nil
	}
	pids := []int{pid}
	for _, child := range children(pid) {
		pids = append(pids, Tree(child)...)
	}
	return pids
}

// Exists tells whether a process has this PID, a zombie included.
func Exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

func children(pid int) []int {
	var pids []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// Threads lists the TIDs of pid.
func Threads(pid int) []int {
	var tids []int
	dirs, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, dir := range dirs {
		if n, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			tids = append(tids, n)
		}
	}
	slices.Sort(tids)
	return tids
}

// Signal sends sig to one process. It refuses what kill(2) takes for a group, for everybody or for PID 1: a test that got a PID wrong must
// not reach beyond itself.
func Signal(pid int, sig syscall.Signal) error {
	if pid <= 1 {
		return fmt.Errorf("refusing to send %v to PID %d", sig, pid)
	}
	return syscall.Kill(pid, sig)
}

// KillTree ends pid and all below it and waits until each is gone. It stops them first, so that nobody forks away.
func KillTree(pid int) error {
	pids := Tree(pid)
	for _, p := range pids {
		_ = Signal(p, syscall.SIGSTOP)
	}
	pids = append(pids, Tree(pid)...)
	for _, p := range pids {
		_ = Signal(p, syscall.SIGKILL)
	}
	return WaitGone(10*time.Second, pids...)
}

// WaitGone waits until none of pids is a process any more.
func WaitGone(limit time.Duration, pids ...int) error {
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		i := slices.IndexFunc(pids, Exists)
		if i < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("PID %d (%s) is still there after %v", pids[i], State(pids[i]), limit)
		}
	}
}

// State describes a process in a few words for reports: name, state, parent.
func State(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "gone"
	}
	var words []string
	for line := range strings.Lines(string(b)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "Name", "State", "PPid", "TracerPid":
			words = append(words, name+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(words, ", ")
}

// Traced tells whether a process's first thread is in a tracing stop at this moment.
func Traced(pid int) bool {
	f := statFields(fmt.Sprintf("/proc/%d", pid))
	return len(f) > 2 && f[2] == "t"
}

// Largest is the address of a process's largest mapping.
func Largest(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, err
	}
	var at, size int64
	for line := range strings.Lines(string(b)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x ", &from, &to); err == nil && to-from > size {
			at, size = from, to-from
		}
	}
	return at, nil
}
