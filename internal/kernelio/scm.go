package kernelio

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// MaxSCM is how many descriptors one message carries (SCM_MAX_FD).
const MaxSCM = 253

// Socketpair makes a connected pair of AF_UNIX sockets of type unix.SOCK_*.
func Socketpair(typ int) (a, b *FD, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, failed(err, "socketpair", typ)
	}
	return NewFD(p[0], "socket pair"), NewFD(p[1], "socket pair"), nil
}

// SendFDs sends data, at least one byte, and at most MaxSCM descriptors over a
// socket in one message.
func SendFDs(sock int, data []byte, fds ...int) error {
	n, err := againFor(func() (int, error) {
		return unix.SendmsgN(sock, data, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	})
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return failed(err, "sendmsg", fmt.Sprintf("%d descriptors over fd %d", len(fds), sock))
}

// RecvFDs receives one message of at most size bytes with its descriptors,
// which are close-on-exec and the caller's to close. A message that carried
// more than fits is an error.
func RecvFDs(sock, size int) ([]byte, []int, error) {
	data, oob := make([]byte, size), make([]byte, unix.CmsgSpace(4*MaxSCM))
	var n, oobn, flags int
	err := again(func() (err error) {
		n, oobn, flags, _, err = unix.Recvmsg(sock, data, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return nil, nil, failed(err, "recvmsg fd", sock)
	}
	fds, err := rights(oob[:oobn])
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = unix.EMSGSIZE
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, nil, failed(err, "recvmsg fd", sock)
	}
	return data[:n], fds, nil
}

func rights(oob []byte) (fds []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		some, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, err
		}
		fds = append(fds, some...)
	}
	return fds, nil
}
