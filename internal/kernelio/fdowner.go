package kernelio

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FD owns a descriptor of this process and closes it once. There is no
// finalizer: who opens closes, and tests compare OpenFDs before and after.
type FD struct {
	n    atomic.Int64 // descriptor + 1; 0 after Close or Take
	name string
}

// NewFD takes ownership of descriptor n; name is what errors call it.
func NewFD(n int, name string) *FD {
	f := &FD{name: name}
	f.n.Store(int64(n) + 1)
	return f
}

// Int is the descriptor, -1 once it was closed or taken.
func (f *FD) Int() int { return int(f.n.Load()) - 1 }

// Name is what was opened.
func (f *FD) Name() string { return f.name }

func (f *FD) String() string { return fmt.Sprintf("%s (fd %d)", f.name, f.Int()) }

// Take gives the descriptor up to the caller; -1 if it is gone already.
func (f *FD) Take() int { return int(f.n.Swap(0)) - 1 }

// Close closes the descriptor. Closing again, or closing nil, does nothing. close(2) is never
// repeated: Linux releases the descriptor even when it reports EINTR.
func (f *FD) Close() error {
	if f == nil {
		return nil
	}
	if n := f.Take(); n >= 0 {
		if err := unix.Close(n); err != unix.EINTR {
			return failed(err, "close", f.name)
		}
	}
	return nil
}

// OpenFDs lists the descriptors of this process with what they are, as the
// links in /proc/self/fd show them, without the one used for the listing.
func OpenFDs() (map[int]string, error) {
	p, err := OpenProc(unix.Getpid())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	nums, err := p.Numbers("fd")
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, n := range nums {
		link, err := p.Link(fmt.Sprintf("fd/%d", n))
		if err == nil && n != p.fd.Int() {
			out[n] = link
		}
	}
	return out, nil
}
