package kernelio

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Memory is the memory of a process, by virtual address. It is open for the
// address space that the process had when it was opened: after an exec it
// gives EOF. It may be used by several goroutines.
//
// Moves go by process_vm_readv and process_vm_writev, which are twice as fast
// as /proc/PID/mem but respect the protection of the pages; /proc/PID/mem
// takes over where they give EFAULT, and reads and writes through protection
// (FOLL_FORCE) if the caller may trace the process. Pieces of 1 MiB and more
// are best.
type Memory struct {
	pid int
	mem *FD
}

// OpenMemory opens the memory of process pid for reading and writing.
func OpenMemory(pid int) (*Memory, error) {
	fd, err := openat(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/mem", pid), unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return &Memory{pid, fd}, nil
}

// Close closes the memory.
func (m *Memory) Close() error { return m.mem.Close() }

// ReadAt fills p from address addr (io.ReaderAt). Pages without read
// protection are read as well; unmapped ones give EFAULT or EIO.
func (m *Memory) ReadAt(p []byte, addr int64) (n int, err error) {
	for step := 4096; n < len(p); step *= 2 {
		k, err := ReadMem(m.pid, uint64(addr)+uint64(n), p[n:])
		if n += k; err == nil {
			continue
		}
		if k > 0 {
			step = 4096
		}
		// Nothing says how far the obstacle reaches: up to the next page,
		// and then twice as much each time.
		end := n + toPageEnd(uint64(addr)+uint64(n)) - 4096 + step
		k, err = m.forced("pread", unix.Pread, p[n:min(len(p), end)], addr+int64(n))
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// Peek reads p from address addr whatever the protection, and leaves pages
// that the process shares copy on write as they are: process_vm_readv(2) pins
// what it reads, for which the kernel first gives the process a page of its
// own (gup_must_unshare in mm/gup.c, Linux 5.19).
func (m *Memory) Peek(p []byte, addr int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = m.forced("pread", unix.Pread, p[n:], addr+int64(n))
		n += k
	}
	return n, err
}

// WriteAt writes p at address addr (io.WriterAt) where the process itself
// could write.
func (m *Memory) WriteAt(p []byte, addr int64) (int, error) {
	return WriteMem(m.pid, uint64(addr), p)
}

// Poke writes p at address addr whatever the protection; a private page is
// copied first. Pages of shared read-only mappings cannot be written.
func (m *Memory) Poke(p []byte, addr int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = m.forced("pwrite", unix.Pwrite, p[n:], addr+int64(n))
		n += k
	}
	return n, err
}

// forced moves bytes through /proc/PID/mem.
func (m *Memory) forced(call string, f func(int, []byte, int64) (int, error), p []byte, addr int64) (int, error) {
	n, err := againFor(func() (int, error) { return f(m.mem.Int(), p, addr) })
	if err != nil {
		return 0, failed(err, call, fmt.Sprintf("%s at %#x+%#x", m.mem.name, uint64(addr), len(p)))
	}
	if n == 0 && len(p) > 0 {
		return 0, failed(io.ErrUnexpectedEOF, call, fmt.Sprintf("%s at %#x: the address space is gone", m.mem.name, uint64(addr)))
	}
	return n, nil
}

func toPageEnd(addr uint64) int { return 4096 - int(addr%4096) }

// maxMove is how much one call may move: MAX_RW_COUNT, rounded down.
const maxMove = 1 << 30

// ReadMem reads p from address addr of process pid. It returns how much was
// read before an error; EFAULT at a page that is not mapped or not readable.
func ReadMem(pid int, addr uint64, p []byte) (int, error) {
	return move("process_vm_readv", unix.ProcessVMReadv, pid, addr, p)
}

// WriteMem writes p at address addr of process pid, as ReadMem reads.
func WriteMem(pid int, addr uint64, p []byte) (int, error) {
	return move("process_vm_writev", unix.ProcessVMWritev, pid, addr, p)
}

type vmCall func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error)

func move(call string, f vmCall, pid int, addr uint64, p []byte) (done int, err error) {
	for done < len(p) {
		part := p[done:min(len(p), done+maxMove)]
		local := []unix.Iovec{iovec(part)}
		remote := []unix.RemoteIovec{{Base: uintptr(addr) + uintptr(done), Len: len(part)}}
		n, err := againFor(func() (int, error) { return f(pid, local, remote, 0) })
		if err != nil {
			return done, failed(err, call, fmt.Sprintf("process %d at %#x+%#x", pid, addr+uint64(done), len(part)))
		}
		done += n
	}
	return done, nil
}

// iovec describes p, which is not empty.
func iovec(p []byte) unix.Iovec {
	v := unix.Iovec{Base: &p[0]}
	v.SetLen(len(p))
	return v
}

// Span is a range of another process's memory.
type Span struct{ Addr, Len uint64 }

// ReadMemVec fills the local buffers one after another from the spans one
// after another, in one call: at most 1024 of each, none empty. It returns
// the number of bytes moved, which is short when a span is not accessible.
func ReadMemVec(pid int, local [][]byte, remote []Span) (int, error) {
	return moveVec("process_vm_readv", unix.ProcessVMReadv, pid, local, remote)
}

// WriteMemVec writes the local buffers to the spans, as ReadMemVec reads.
func WriteMemVec(pid int, local [][]byte, remote []Span) (int, error) {
	return moveVec("process_vm_writev", unix.ProcessVMWritev, pid, local, remote)
}

func moveVec(call string, f vmCall, pid int, local [][]byte, remote []Span) (int, error) {
	l, r := make([]unix.Iovec, len(local)), make([]unix.RemoteIovec, len(remote))
	for i, b := range local {
		l[i] = iovec(b)
	}
	for i, s := range remote {
		r[i] = unix.RemoteIovec{Base: uintptr(s.Addr), Len: int(s.Len)}
	}
	n, err := againFor(func() (int, error) { return f(pid, l, r, 0) })
	if err != nil {
		return 0, failed(err, call, fmt.Sprintf("process %d, %d ranges from %#x", pid, len(remote), r[0].Base))
	}
	return n, nil
}
