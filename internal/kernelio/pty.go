package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenPTY makes a pseudoterminal (pts(4)). Neither side becomes anybody's
// controlling terminal, and no path is needed for the slave.
func OpenPTY() (master, slave *FD, err error) {
	if master, err = OpenPath("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY); err != nil {
		return nil, nil, err
	}
	_, err = Ioctl(master.Int(), unix.TIOCSPTLCK, make([]byte, 4))
	var n int64
	if err == nil {
		n, err = IoctlInt(master.Int(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	}
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, NewFD(int(n), "slave of a pseudoterminal"), nil
}

// Termios is how a terminal treats what goes through it (termios(3)).
func Termios(fd int) (*unix.Termios, error) {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return t, failed(err, "TCGETS of fd", fd)
}

// SetTermios has a terminal treat it otherwise from now on.
func SetTermios(fd int, t *unix.Termios) error {
	return failed(again(func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, t) }), "TCSETS of fd", fd)
}

// CopyWindow gives a terminal the size of another one's window.
func CopyWindow(from, to int) error {
	size, err := unix.IoctlGetWinsize(from, unix.TIOCGWINSZ)
	if err != nil {
		return failed(err, "TIOCGWINSZ of fd", from)
	}
	return failed(unix.IoctlSetWinsize(to, unix.TIOCSWINSZ, size), "TIOCSWINSZ of fd", to)
}

// Foreground is the process group to which a terminal's keys belong
// (tcgetpgrp(3)); 0 if it is not this process's controlling terminal.
func Foreground(fd int) int {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// Ready says what a descriptor can be used for, of poll(2)'s events, after it has
// waited for that: for ever if wait is true.
func Ready(fd int, events int16, wait bool) (int16, error) {
	timeout := 0
	if wait {
		timeout = -1
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	_, err := againFor(func() (int, error) { return unix.Poll(p, timeout) })
	return p[0].Revents, failed(err, "poll", fmt.Sprint("fd ", fd))
}
