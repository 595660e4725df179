package kernelio

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Pipe makes a pipe (pipe2(2)); flags besides O_CLOEXEC are O_NONBLOCK and
// O_DIRECT.
func Pipe(flags int) (r, w *FD, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], flags|unix.O_CLOEXEC); err != nil {
		return nil, nil, failed(err, "pipe2", flags)
	}
	return NewFD(p[0], "pipe"), NewFD(p[1], "pipe"), nil
}

// PipeSize is the capacity in bytes (F_GETPIPE_SZ).
func PipeSize(fd int) (int, error) { return Fcntl(fd, unix.F_GETPIPE_SZ, 0) }

// SetPipeSize sets the capacity, which the kernel rounds up.
func SetPipeSize(fd, size int) (int, error) { return Fcntl(fd, unix.F_SETPIPE_SZ, size) }

// PeekPipe reads what is in the pipe of descriptor fd, either end, and leaves
// it there. Each element is what one read would give: a packet if it was
// written under O_DIRECT, else an arbitrary piece. The users of the pipe
// must be frozen. It goes by tee(2) into a pipe of the same capacity.
func PeekPipe(fd int) (out [][]byte, err error) {
	src, err := Reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	want, err := Readable(src.Int())
	if err != nil || want == 0 {
		return nil, err
	}
	r, w, err := pipeLike(src.Int())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	n, err := againFor(func() (int64, error) { return unix.Tee(src.Int(), w.Int(), want, unix.SPLICE_F_NONBLOCK) })
	if err == nil && int(n) != want {
		err = io.ErrShortWrite
	}
	if err != nil {
		return nil, failed(err, "tee", fmt.Sprintf("%d of %d bytes of pipe fd %d", n, want, fd))
	}
	return drain(r, want)
}

func pipeLike(fd int) (r, w *FD, err error) {
	size, err := PipeSize(fd)
	if err != nil {
		return nil, nil, err
	}
	if r, w, err = Pipe(unix.O_NONBLOCK); err != nil {
		return nil, nil, err
	}
	if _, err = SetPipeSize(w.Int(), size); err != nil {
		r.Close()
		w.Close()
		return nil, nil, err
	}
	return r, w, nil
}

// drain reads n bytes, one element a read.
func drain(r *FD, n int) (out [][]byte, err error) {
	for buf := make([]byte, 64<<10); n > 0; {
		k, err := againFor(func() (int, error) { return unix.Read(r.Int(), buf) })
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, failed(err, "read", r.name)
		}
		out = append(out, append([]byte(nil), buf[:k]...))
		n -= k
	}
	return out, nil
}
