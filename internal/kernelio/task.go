package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TaskExists says whether a process or thread has this number, zombies
// included. /proc shows threads by number though it does not list them.
func TaskExists(tid int) bool {
	var s unix.Stat_t
	return again(func() error { return unix.Stat(fmt.Sprintf("/proc/%d", tid), &s) }) == nil
}

// Kill sends a signal to a process by number.
func Kill(pid int, sig unix.Signal) error {
	return failed(unix.Kill(pid, sig), "kill", pid)
}

// Reap waits for the death of a child of this process, whatever signal it
// was to send (__WALL in wait(2)), and gives its wait status.
func Reap(pid int) (unix.WaitStatus, error) {
	var s unix.WaitStatus
	_, err := againFor(func() (int, error) { return unix.Wait4(pid, &s, unix.WALL, nil) })
	return s, failed(err, "wait4", pid)
}

// ProcessGroup is the group of this process.
func ProcessGroup() int { return unix.Getpgrp() }

// CloseFD closes a descriptor that no FD owns.
func CloseFD(n int) error { return failed(unix.Close(n), "close", n) }

// WriteAll writes p to a descriptor, however many calls that takes.
func WriteAll(fd int, p []byte) error {
	_, err := writeAll(fd, p)
	return failed(err, "write fd", fd)
}

// PID is the number of this process.
func PID() int { return unix.Getpid() }

// Prctl asks prctl(2) for a value that it returns as its result.
func Prctl(option int) (int, error) {
	r, err := Syscall(unix.SYS_PRCTL, Int(option), Int(0), Int(0), Int(0), Int(0))
	return int(r), failed(err, "prctl", option)
}

// SessionOf is the session of a process.
func SessionOf(pid int) (int, error) {
	sid, err := unix.Getsid(pid)
	return sid, failed(err, "getsid", pid)
}
