package kernelio

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// TraceeMem is the memory of a process that the tool traces, by
// /proc/PID/mem. Access was checked when it was opened, so it stays usable
// after the process has changed its credentials; writes reach read-only
// private mappings too (FOLL_FORCE). An execve ends it.
type TraceeMem struct {
	pid int
	fd  int
}

// OpenTraceeMem opens the memory of process pid.
func OpenTraceeMem(pid int) (*TraceeMem, error) {
	path := fmt.Sprintf("/proc/%d/mem", pid)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &TraceeMem{pid: pid, fd: fd}, nil
}

// LaterTraceeMem is the memory of a process that is opened when it is first
// written to. Until then it is read by process_vm_readv(2), which takes the same
// right, and less time than to open a file of /proc.
func LaterTraceeMem(pid int) *TraceeMem { return &TraceeMem{pid: pid, fd: -1} }

// Close gives the descriptor back.
func (m *TraceeMem) Close() error {
	if m.fd < 0 {
		return nil
	}
	return unix.Close(m.fd)
}

// ReadAt reads len(b) bytes at address addr, all or an error.
func (m *TraceeMem) ReadAt(b []byte, addr int64) (int, error) {
	if m.fd < 0 {
		return ReadMem(m.pid, uint64(addr), b)
	}
	return m.whole("read", b, addr, unix.Pread)
}

// ReadCode is ReadAt for much that can be read without force: twice as fast
// where the caller may trace the process by its present credentials.
func (m *TraceeMem) ReadCode(b []byte, addr int64) (int, error) {
	if n, err := ReadMem(m.pid, uint64(addr), b); err == nil {
		return n, nil
	}
	return m.ReadAt(b, addr)
}

// WriteAt writes b at address addr, all or an error.
func (m *TraceeMem) WriteAt(b []byte, addr int64) (int, error) {
	if m.fd < 0 {
		now, err := OpenTraceeMem(m.pid)
		if err != nil {
			return 0, err
		}
		*m = *now
	}
	return m.whole("write", b, addr, unix.Pwrite)
}

func (m *TraceeMem) whole(what string, b []byte, addr int64, call func(int, []byte, int64) (int, error)) (int, error) {
	done := 0
	for done < len(b) {
		n, err := call(m.fd, b[done:], addr+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 { // the address space is gone
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, fmt.Errorf("%s %d bytes at %#x of process %d: %w", what, len(b)-done, addr+int64(done), m.pid, err)
		}
		done += n
	}
	return done, nil
}

// Yield lets other threads run (sched_yield(2)).
func Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
