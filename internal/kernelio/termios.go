package kernelio

import (
	"os"

	"golang.org/x/sys/unix"
)

// HideTyping makes a terminal take lines that it does not show, forgets what
// was typed so far, and returns what undoes it (termios(3), ECHO).
func HideTyping(tty int) (show func(), err error) {
	was, err := unix.IoctlGetTermios(tty, unix.TCGETS)
	if err != nil {
		return nil, os.NewSyscallError("ioctl TCGETS", err)
	}
	silent := *was
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(tty, unix.TCSETSF, &silent); err != nil {
		return nil, os.NewSyscallError("ioctl TCSETSF", err)
	}
	return func() { _ = unix.IoctlSetTermios(tty, unix.TCSETS, was) }, nil
}
