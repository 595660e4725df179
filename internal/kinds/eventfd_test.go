package kinds

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestEventfd(t *testing.T) {
	for _, c := range []struct {
		count uint
		flags int
	}{{0, 0}, {3, unix.EFD_SEMAPHORE}, {1 << 31, unix.EFD_NONBLOCK}} {
		w := newWorld(t)
		fd := must(unix.Eventfd(c.count, c.flags))(t)
		f := w.add(fd)
		w.restore(f)
		w.same(f)
		unix.Close(fd)
		unix.Close(w.fd(f.Ref().Main()))
	}
}

func TestEventfdOfOldKernels(t *testing.T) {
	w := newWorld(t)
	fd := must(unix.Eventfd(0, 0))(t)
	defer unix.Close(fd)
	f := w.add(fd)
	f.Info.Eventfd.HasSemaphore = false
	w.refused(f)
}
