package abi

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// FDInfo is /proc/PID/fdinfo/N (proc_pid_fdinfo(5); fs/proc/fd.c and the
// show_fdinfo function of each file type). At most one of the typed parts is
// set; a file type without lines of its own has none.
type FDInfo struct {
	Pos   int64
	Flags uint32 // O_* of open(2), with O_CLOEXEC for this descriptor
	MntID int32
	Ino   uint64 // since Linux 5.14
	Locks []Lock // on the inode, whoever holds them through this file table

	Eventfd  *EventfdInfo
	Epoll    []EpollTarget
	Signalfd *SigSet // the signals that it reads
	Inotify  []InotifyWatch
	Timerfd  *TimerfdInfo
	Pidfd    *PidfdInfo
	Uffd     *UffdInfo
	TTYIndex *uint64 // the N of /dev/pts/N whose master this is
	TUN      *string // the interface of a /dev/net/tun, "" when unattached
	SCMFds   *uint64 // descriptors in flight towards this unix socket
	Fanotify []string
	IOUring  []string
	BPF      []string

	Unknown []string // lines that this package does not know
}

// EventfdInfo is an eventfd.
type EventfdInfo struct {
	Count        uint64
	ID           int64 // unique while it lives
	Semaphore    bool  // valid if HasSemaphore: since Linux 6.5
	HasSemaphore bool
}

// EpollTarget is a descriptor registered in an epoll instance. FD is the
// number at registration; Ino and Dev tell what it was.
type EpollTarget struct {
	FD     int32
	Events uint32
	Data   uint64
	Pos    int64
	Ino    uint64
	Dev    uint64 // of the filesystem, as unix.Mkdev gives it
}

// InotifyWatch is one watch of an inotify instance.
type InotifyWatch struct {
	WD          int32
	Ino         uint64
	Dev         uint64 // as EpollTarget.Dev
	Mask        uint32
	IgnoredMask uint32
	HandleType  uint32 // of the file handle, for open_by_handle_at(2)
	Handle      []byte // nil if the filesystem has none
}

// TimerfdInfo is a timerfd. Value is the time left, also for an absolute timer.
type TimerfdInfo struct {
	ClockID  int32
	Ticks    uint64 // expirations not yet read
	Flags    uint32 // TFD_TIMER_* of the last timerfd_settime
	Value    Timespec
	Interval Timespec
}

// PidfdInfo is the process of a pidfd: Pid is -1 once it was reaped and 0 if
// it is outside the PID namespace of the proc mount.
type PidfdInfo struct {
	Pid   int32
	NSpid []int32
}

// UffdInfo is a userfaultfd.
type UffdInfo struct {
	Pending, Total uint64
	API            uint64
	Features       uint64 // enabled by UFFDIO_API; 1<<31 says that it was called
	Available      uint64 // of this kernel
}

// ParseFDInfo reads the whole text of an fdinfo file.
func ParseFDInfo(text []byte) (*FDInfo, error) {
	f := new(FDInfo)
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, val, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			f.Unknown = append(f.Unknown, string(line))
			continue
		}
		known, ok := f.set(string(key), trimLeft(val), line)
		if !known {
			f.Unknown = append(f.Unknown, string(line))
		} else if !ok {
			return nil, syntax("fdinfo", line, "not a value of this line")
		}
	}
	return f, nil
}

func (f *FDInfo) set(key string, val, line []byte) (known, ok bool) {
	switch key {
	case "pos":
		return true, store(val, &f.Pos)
	case "flags":
		return true, scan(val, 8, &f.Flags)
	case "mnt_id":
		return true, scanInt32(val, &f.MntID)
	case "ino":
		return true, scan(val, 10, &f.Ino)
	case "lock":
		l, err := parseLock(val)
		f.Locks = append(f.Locks, l)
		return true, err == nil
	case "tfd":
		return true, f.addEpoll(line)
	case "sigmask":
		f.Signalfd = new(SigSet)
		return true, scan(val, 16, f.Signalfd)
	case "inotify wd":
		return true, f.addInotify(line)
	case "tty-index":
		f.TTYIndex = new(uint64)
		return true, scan(val, 10, f.TTYIndex)
	case "iff":
		name := string(val)
		f.TUN = &name
		return true, true
	case "scm_fds":
		f.SCMFds = new(uint64)
		return true, scan(val, 10, f.SCMFds)
	}
	if known, ok = f.setCounter(key, val); known {
		return known, ok
	}
	return f.keep(key, line), true
}

// setCounter stores the lines of eventfd, timerfd, pidfd and userfaultfd.
func (f *FDInfo) setCounter(key string, val []byte) (known, ok bool) {
	switch key {
	case "eventfd-count":
		return true, scan(val, 16, &made(&f.Eventfd).Count)
	case "eventfd-id":
		return true, store(val, &made(&f.Eventfd).ID)
	case "eventfd-semaphore":
		e := made(&f.Eventfd)
		e.HasSemaphore, e.Semaphore = true, string(val) == "1"
		return true, len(val) == 1
	case "clockid":
		return true, scanInt32(val, &made(&f.Timerfd).ClockID)
	case "ticks":
		return true, scan(val, 10, &made(&f.Timerfd).Ticks)
	case "settime flags":
		return true, scan(val, 8, &made(&f.Timerfd).Flags)
	case "it_value":
		return true, scanPair(val, &made(&f.Timerfd).Value)
	case "it_interval":
		return true, scanPair(val, &made(&f.Timerfd).Interval)
	case "Pid":
		return true, scanInt32(val, &made(&f.Pidfd).Pid)
	case "NSpid":
		return true, scanInt32s(val, &made(&f.Pidfd).NSpid)
	case "pending":
		return true, scan(val, 10, &made(&f.Uffd).Pending)
	case "total":
		return true, scan(val, 10, &made(&f.Uffd).Total)
	case "API":
		return true, scanUffdAPI(val, made(&f.Uffd))
	}
	return false, false
}

func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// keep stores a line of a type that is recognised but not taken apart.
func (f *FDInfo) keep(key string, line []byte) bool {
	switch {
	case bytes.HasPrefix(line, []byte("fanotify ")):
		f.Fanotify = append(f.Fanotify, string(line))
	case isUringKey(key) || f.IOUring != nil && isUringBody(key):
		f.IOUring = append(f.IOUring, string(line))
	case isBPFKey(key):
		f.BPF = append(f.BPF, string(line))
	default:
		return false
	}
	return true
}

// scanPair reads "(seconds, nanoseconds)".
func scanPair(val []byte, t *Timespec) bool {
	sec, rest, ok := leadUint(bytes.TrimPrefix(val, []byte{'('}), 10)
	if !ok || !bytes.HasPrefix(rest, []byte(", ")) {
		return false
	}
	nsec, rest, ok := leadUint(rest[2:], 10)
	t.Sec, t.Nsec = int64(sec), int64(nsec)
	return ok && string(rest) == ")"
}

// scanUffdAPI reads "aa:enabled:available" (userfaultfd_show_fdinfo).
func scanUffdAPI(val []byte, u *UffdInfo) bool {
	f := bytes.Split(val, []byte{':'})
	return len(f) == 3 && scan(f[0], 16, &u.API) && scan(f[1], 16, &u.Features) &&
		scan(f[2], 16, &u.Available)
}

// addEpoll reads "tfd: 5 events: 19 data: 5  pos:0 ino:61 sdev:7".
func (f *FDInfo) addEpoll(line []byte) bool {
	var t EpollTarget
	p := keyed{rest: line}
	ok := scanInt32(p.val("tfd:"), &t.FD) && scan(p.val("events:"), 16, &t.Events) &&
		scan(p.val("data:"), 16, &t.Data) && store(p.val("pos:"), &t.Pos) &&
		scan(p.val("ino:"), 16, &t.Ino) && scanSdev(p.val("sdev:"), &t.Dev)
	f.Epoll = append(f.Epoll, t)
	return ok && len(p.rest) == 0
}

// addInotify reads "inotify wd:1 ino:2 sdev:3 mask:4 ignored_mask:0
// fhandle-bytes:8 fhandle-type:1 f_handle:0011"; numbers are hexadecimal.
func (f *FDInfo) addInotify(line []byte) bool {
	var w InotifyWatch
	p := keyed{rest: bytes.TrimPrefix(line, []byte("inotify "))}
	var wd, size uint32
	ok := scan(p.val("wd:"), 16, &wd) && scan(p.val("ino:"), 16, &w.Ino) &&
		scanSdev(p.val("sdev:"), &w.Dev) && scan(p.val("mask:"), 16, &w.Mask) &&
		scan(p.val("ignored_mask:"), 16, &w.IgnoredMask)
	w.WD = int32(wd)
	if ok && len(p.rest) > 0 {
		ok = scan(p.val("fhandle-bytes:"), 16, &size) && scan(p.val("fhandle-type:"), 16, &w.HandleType)
		w.Handle, ok = unhex(p.val("f_handle:"), int(size), ok)
	}
	f.Inotify = append(f.Inotify, w)
	return ok && len(p.rest) == 0
}

// scanSdev reads a device number in the kernel's own encoding, major << 20 |
// minor (MKDEV in include/linux/kdev_t.h), as unix.Mkdev would give it.
func scanSdev(val []byte, dst *uint64) bool {
	var n uint32
	ok := scan(val, 16, &n)
	*dst = unix.Mkdev(n>>20, n&(1<<20-1))
	return ok
}

// unhex decodes size bytes of hexadecimal digits.
func unhex(b []byte, size int, ok bool) ([]byte, bool) {
	if !ok || size != len(b)/2 || len(b)%2 != 0 {
		return nil, false
	}
	out := make([]byte, size)
	for i := range out {
		hi, lo := digit(b[2*i]), digit(b[2*i+1])
		if hi > 15 || lo > 15 {
			return nil, false
		}
		out[i] = hi<<4 | lo
	}
	return out, true
}

// keyed walks a line of "key:value" pairs in a known order; there may be
// blanks after the colon. A missing key gives an empty value, which is no number.
type keyed struct{ rest []byte }

func (k *keyed) val(key string) []byte {
	after, ok := bytes.CutPrefix(k.rest, []byte(key))
	if !ok {
		return nil
	}
	var v []byte
	v, k.rest = cutField(after)
	return v
}

// isUringKey says whether the key opens the text of an io_uring
// (__io_uring_show_fdinfo, io_uring/fdinfo.c).
func isUringKey(key string) bool {
	switch key {
	case "SqMask", "SqHead", "SqTail", "CachedSqHead", "CqMask", "CqHead", "CqTail",
		"CachedCqTail", "SQEs", "CQEs", "SqThread", "SqThreadCpu", "SqTotalTime",
		"SqWorkTime", "UserFiles", "UserBufs", "PollList", "CqOverflowList", "NAPI":
		return true
	}
	return false
}

// isUringBody says whether the key can follow in such a text: numbered entries
// and their attributes.
func isUringBody(key string) bool {
	t := bytes.TrimLeft([]byte(key), " \t")
	_, isNumber := parseUint(t, 10)
	return isNumber || len(t) > 0 && len(t) < len(key)
}

// isBPFKey says whether the key is one of a BPF program, map, link or token
// (bpf_prog_show_fdinfo and its like, kernel/bpf/syscall.c).
func isBPFKey(key string) bool {
	switch key {
	case "prog_type", "prog_jited", "prog_tag", "memlock", "prog_id", "run_time_ns",
		"run_cnt", "recursion_misses", "verified_insns", "map_type", "key_size",
		"value_size", "max_entries", "map_flags", "map_extra", "map_id", "frozen",
		"owner_prog_type", "owner_jited", "link_type", "link_id", "btf_id":
		return true
	}
	return false
}
