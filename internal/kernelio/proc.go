package kernelio

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// ProcDir is the directory /proc/PID of one process. The descriptor names the
// process and not the number: after its death every access gives ESRCH, even
// when the PID is in use again. It may be used by several goroutines.
type ProcDir struct {
	PID int
	fd  *FD

	bufs sync.Pool // of *[]byte
}

// OpenProc opens /proc/PID.
func OpenProc(pid int) (*ProcDir, error) {
	fd, err := openat(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &ProcDir{PID: pid, fd: fd}, nil
}

// Close closes the directory.
func (p *ProcDir) Close() error { return p.fd.Close() }

// Same says whether the PID still belongs to the process that was opened.
func (p *ProcDir) Same() error {
	return p.Use("stat", func([]byte) error { return nil })
}

// Use reads the whole file name, relative to the directory ("maps",
// "fdinfo/3", "task/7/stat"), and hands it to f, which must not keep it.
func (p *ProcDir) Use(name string, f func([]byte) error) error {
	fd, err := p.Open(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer fd.Close()
	buf, ok := p.bufs.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
		*buf = make([]byte, 2048)
	}
	defer p.bufs.Put(buf)
	text, err := readAll(fd, buf)
	if err != nil {
		return err
	}
	return f(text)
}

// useLines reads the file name and hands it to f as it comes, whole lines each
// time.
func (p *ProcDir) useLines(name string, f func([]byte) error) error {
	fd, err := p.Open(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer fd.Close()
	buf := make([]byte, 16<<10)
	for have := 0; ; {
		if have == len(buf) { // a line that is longer
			buf = append(buf, make([]byte, len(buf))...)
		}
		n, err := againFor(func() (int, error) { return unix.Read(fd.Int(), buf[have:]) })
		if err != nil {
			return err
		}
		have += n
		whole := bytes.LastIndexByte(buf[:have], '\n') + 1
		if n == 0 {
			whole = have
		}
		if err := f(buf[:whole]); err != nil || n == 0 {
			return err
		}
		have = copy(buf, buf[whole:have])
	}
}

// readAll reads until the end into a buffer, which it makes larger as needed.
func readAll(fd *FD, buf *[]byte) ([]byte, error) {
	for have := 0; ; {
		n, err := againFor(func() (int, error) { return unix.Read(fd.Int(), (*buf)[have:]) })
		if err != nil {
			return nil, failed(err, "read", fd.name)
		}
		if have += n; n == 0 {
			return (*buf)[:have], nil
		}
		if have == len(*buf) {
			*buf = append(*buf, make([]byte, len(*buf))...)
		}
	}
}

// Read reads the whole file name.
func (p *ProcDir) Read(name string) (out []byte, err error) {
	err = p.Use(name, func(b []byte) error {
		out = append([]byte(nil), b...)
		return nil
	})
	return out, err
}

// Open opens a file below the directory with O_* flags. Opening fd/N, map_files/A-B,
// exe, cwd, root and ns/T follows the link to the object itself.
func (p *ProcDir) Open(name string, flags int) (*FD, error) {
	fd, err := againFor(func() (int, error) { return unix.Openat(p.fd.Int(), name, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, failed(err, "open", p.path(name))
	}
	return NewFD(fd, p.path(name)), nil
}

// Link reads the symbolic link name.
func (p *ProcDir) Link(name string) (string, error) {
	for buf := make([]byte, 256); ; buf = make([]byte, 2*len(buf)) {
		n, err := unix.Readlinkat(p.fd.Int(), name, buf)
		if err != nil {
			return "", failed(err, "readlink", p.path(name))
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
	}
}

// StatFile says what name leads to, links followed; FSType is not filled in.
func (p *ProcDir) StatFile(name string) (FileStat, error) {
	f, err := statx(p.fd.Int(), name, 0)
	return f, failed(err, "statx", p.path(name))
}

func (p *ProcDir) path(name string) string { return "/proc/" + strconv.Itoa(p.PID) + "/" + name }

// parsed reads a file and parses it.
func parsed[T any](p *ProcDir, name string, parse func([]byte) (T, error)) (v T, err error) {
	err = p.Use(name, func(b []byte) error {
		v, err = parse(b)
		return failed(err, "read", p.path(name))
	})
	return v, err
}

// Stat reads stat.
func (p *ProcDir) Stat() (*abi.Stat, error) { return parsed(p, "stat", abi.ParseStat) }

// Status reads status.
func (p *ProcDir) Status() (*abi.Status, error) { return parsed(p, "status", abi.ParseStatus) }

// ThreadStat reads the stat of one thread.
func (p *ProcDir) ThreadStat(tid int) (*abi.Stat, error) {
	return parsed(p, fmt.Sprintf("task/%d/stat", tid), abi.ParseStat)
}

// ThreadStatus reads the status of one thread.
func (p *ProcDir) ThreadStatus(tid int) (*abi.Status, error) {
	return parsed(p, fmt.Sprintf("task/%d/status", tid), abi.ParseStatus)
}

// Maps reads maps.
func (p *ProcDir) Maps() ([]abi.VMA, error) { return parsed(p, "maps", abi.ParseMaps) }

// Smaps reads smaps.
func (p *ProcDir) Smaps() ([]abi.SmapsVMA, error) {
	var s abi.Smaps
	err := p.useLines("smaps", s.Add)
	return s.VMAs, failed(err, "read", p.path("smaps"))
}

// FDInfo reads fdinfo of descriptor fd.
func (p *ProcDir) FDInfo(fd int) (*abi.FDInfo, error) {
	return parsed(p, fmt.Sprintf("fdinfo/%d", fd), abi.ParseFDInfo)
}

// Limits reads limits.
func (p *ProcDir) Limits() (abi.Limits, error) { return parsed(p, "limits", abi.ParseLimits) }

// Timers reads timers, the process's POSIX timers.
func (p *ProcDir) Timers() ([]abi.PosixTimer, error) { return parsed(p, "timers", abi.ParseTimers) }

// Mounts reads mountinfo.
func (p *ProcDir) Mounts() ([]abi.Mount, error) { return parsed(p, "mountinfo", abi.ParseMountinfo) }

// Auxv reads auxv.
func (p *ProcDir) Auxv() ([]abi.Auxv, error) { return parsed(p, "auxv", abi.ParseAuxv) }

// Cmdline reads cmdline.
func (p *ProcDir) Cmdline() ([]string, error) {
	return parsed(p, "cmdline", func(b []byte) ([]string, error) { return abi.ParseCmdline(b), nil })
}

// Threads lists the TIDs, in ascending order.
func (p *ProcDir) Threads() ([]int, error) { return p.Numbers("task") }

// FDs lists the open descriptors, in ascending order.
func (p *ProcDir) FDs() ([]int, error) { return p.Numbers("fd") }
