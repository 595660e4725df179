package kernelio

import "golang.org/x/sys/unix"

// SendDatagram sends p to the datagram socket at a path, such as syslog's, if
// its owner takes it at once.
func SendDatagram(path string, p []byte) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return failed(err, "socket", "AF_UNIX")
	}
	defer unix.Close(fd)
	err = again(func() error { return unix.Sendto(fd, p, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path}) })
	return failed(err, "sendto", path)
}
