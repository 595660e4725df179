package kernelio

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// WaitDead waits until the process of a pidfd has exited; its parent may not
// have reaped it yet. After the deadline it gives os.ErrDeadlineExceeded.
func WaitDead(pidfd *FD, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("waiting for the end of %s: %w", pidfd.name, os.ErrDeadlineExceeded)
		}
		fds := []unix.PollFd{{Fd: int32(pidfd.Int()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return failed(err, "poll", pidfd.name)
		}
		if n > 0 {
			return nil
		}
	}
}

// WaitGone waits until the process of a pidfd was reaped too, so that its PID
// is free.
func WaitGone(pidfd *FD, deadline time.Time) error {
	if err := WaitDead(pidfd, deadline); err != nil {
		return err
	}
	// A zombie still takes signal 0; only Linux 6.9 reports the reaping by poll.
	for pause := 50 * time.Microsecond; !errors.Is(PidfdSignal(pidfd, 0), unix.ESRCH); pause = min(2*pause, 10*time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for the parent to reap the zombie of %s: %w", pidfd.name, os.ErrDeadlineExceeded)
		}
		time.Sleep(pause)
	}
	return nil
}

// KillAll sends SIGKILL to the processes; those that are dead already are no
// error.
func KillAll(pidfds []*FD) error {
	var errs []error
	for _, p := range pidfds {
		if err := PidfdSignal(p, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
