package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// PidfdOpen opens a pidfd of process pid (pidfd_open(2)).
func PidfdOpen(pid int) (*FD, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, failed(err, "pidfd_open", pid)
	}
	return NewFD(fd, fmt.Sprintf("pidfd of %d", pid)), nil
}

// PidfdGetfd duplicates descriptor n of the process of pidfd
// (pidfd_getfd(2)); the copy is the same open file description.
func PidfdGetfd(pidfd *FD, n int) (*FD, error) {
	fd, err := unix.PidfdGetfd(pidfd.Int(), n, 0)
	if err != nil {
		return nil, failed(err, "pidfd_getfd", n, " by ", pidfd.name)
	}
	return NewFD(fd, fmt.Sprintf("fd %d by %s", n, pidfd.name)), nil
}

// PidfdSignal sends a signal; 0 only asks whether it could.
func PidfdSignal(pidfd *FD, sig unix.Signal) error {
	return failed(unix.PidfdSendSignal(pidfd.Int(), sig, nil, 0), "pidfd_send_signal", int(sig), " to ", pidfd.name)
}
