package inject

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Barrier is the word that says whether a restore has committed: a page that
// the tool can write and the tasks only read, since they have it from a
// descriptor that is open for reading.
type Barrier struct {
	page []byte
	ro   *os.File
}

// NewBarrier makes one that is not committed.
func NewBarrier() (*Barrier, error) {
	f, err := memfd("barrier")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(pageSize); err != nil {
		return nil, err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	ro, err := readOnly(f)
	if err != nil {
		unix.Munmap(page)
		return nil, err
	}
	return &Barrier{page: page, ro: ro}, nil
}

// Commit decides that the tasks live: it is the one event between nothing
// and everything. ExitKill must have been taken off all threads before.
func (b *Barrier) Commit() { atomic.StoreUint64(b.word(), 1) }

// Close gives the tool's side back; tasks keep theirs.
func (b *Barrier) Close() error {
	b.ro.Close()
	return os.NewSyscallError("munmap", unix.Munmap(b.page))
}
