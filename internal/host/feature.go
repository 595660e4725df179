package host

import (
	"errors"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Feature is something that this program may want of the kernel. Whether the
// kernel has it is found out by trying, never from its version: distributions
// port features back, and containers take some away.
type Feature struct {
	Name   string // as the kernel's manual pages call it
	Since  string // the first release that had it
	Commit string // with which it came upstream
	Use    string // what it is for here
	// Probe tries it out and changes nothing. No comes with the error that
	// said so.
	Probe func() (Answer, error)
}

// Features lists them, the oldest first.
func Features() []Feature {
	return []Feature{
		{"process_vm_readv", "3.2", "fcf634098c00", "reading memory",
			call(unix.SYS_PROCESS_VM_READV, []kernelio.Arg{kernelio.Int(os.Getpid())}, nil)},
		{"map_files", "3.3", "640708a2cff7", "finding mapped files that were deleted", file("/proc/self/map_files")},
		{"ns_last_pid", "3.3", "b8f566b04d3c", "choosing PIDs where clone3 can't", file("/proc/sys/kernel/ns_last_pid")},
		{"kcmp", "3.5", "d97b46a64674", "finding what processes share",
			call(unix.SYS_KCMP, []kernelio.Arg{kernelio.Int(os.Getpid()), kernelio.Int(os.Getpid()), kernelio.Int(abi.KcmpVM)}, nil)},
		{"PTRACE_PEEKSIGINFO", "3.10", "84c751bd4aeb", "saving pending signals",
			traced(func(pid int) error {
				_, err := kernelio.PtracePeekSignals(pid, 0, false, make([][abi.SizeofSiginfo]byte, 1))
				return err
			})},
		{"PTRACE_GETSIGMASK", "3.11", "29000caecbe8", "saving signal masks",
			traced(func(pid int) error { _, err := kernelio.PtraceGetSigmask(pid); return err })},
		{"O_TMPFILE", "3.11", "60545d0d4610", "restoring deleted files", tmpfile},
		{"memfd_create", "3.17", "9183df25fe7b", "restoring memory files",
			call(unix.SYS_MEMFD_CREATE, []kernelio.Arg{kernelio.Str(""), kernelio.Int(-1)}, []error{unix.EINVAL})},
		{"PR_SET_MM_MAP", "3.18", "f606b77f1a9e", "restoring the layout of memory", layoutSize},
		{"PTRACE_O_SUSPEND_SECCOMP", "4.3", "13c4a90119d2", "asking processes that run under seccomp filters",
			traced(suspendSeccomp, unix.EINVAL)},
		{"PTRACE_SECCOMP_GET_FILTER", "4.4", "f8e529ed941b", "saving seccomp filters", traced(filter)},
		{"KCMP_EPOLL_TFD", "4.13", "0791e3644e5e", "finding what an epoll instance watches", epollTarget},
		{"INOTIFY_IOC_SETNEXTWD", "4.16", "e1603b6effe1", "restoring inotify watches", nextWatch},
		{"clone3 set_tid", "5.5", "49cb2fc42ce4", "choosing PIDs", setTID},
		{"pidfd_getfd", "5.6", "8649c322f75c", "saving open files",
			call(unix.SYS_PIDFD_GETFD, []kernelio.Arg{kernelio.Int(-1), kernelio.Int(0), kernelio.Int(0)}, []error{unix.EBADF})},
		{"openat2", "5.6", "fddb5d430ad9", "opening files without surprises",
			call(unix.SYS_OPENAT2, []kernelio.Arg{kernelio.Int(-1), {}, {}, {}}, []error{unix.EINVAL})},
		{"time namespaces", "5.6", "769071ac9f20", "telling whether clocks are the host's", file("/proc/self/ns/time")},
		{"CAP_CHECKPOINT_RESTORE", "5.9", "124ea650d307", "choosing PIDs and following map_files without root", capability},
		{"close_range", "5.9", "278a5fbaed89", "closing what a tree does not have",
			call(unix.SYS_CLOSE_RANGE, []kernelio.Arg{kernelio.Int(1), kernelio.Int(0), kernelio.Int(0)}, []error{unix.EINVAL})},
		{"PTRACE_GET_RSEQ_CONFIGURATION", "5.13", "90f093fa8ea4", "saving restartable sequences",
			traced(func(pid int) error { _, err := kernelio.PtraceRseq(pid); return err })},
		{"PAGEMAP_SCAN", "6.7", "52526ca7fdb9", "finding pages fast", scan(0)},
		{"mseal", "6.10", "8be7258aad44", "restoring sealed mappings",
			call(unix.SYS_MSEAL, []kernelio.Arg{kernelio.Int(1), kernelio.Int(0), kernelio.Int(0)}, []error{unix.EINVAL})},
		{"MADV_GUARD_INSTALL", "6.13", "662df3e5c376", "restoring guard pages", guard},
		{"PAGE_IS_GUARD", "6.15", "a516403787e0", "finding guard pages", scan(abi.PageIsGuard)},
		{"PR_TIMER_CREATE_RESTORE_IDS", "6.15", "ec2d0c04624b", "restoring POSIX timers of any number", timerIDs},
	}
}

// call probes by a system call that a kernel which knows it refuses in one of
// the ways of known, or does not refuse.
func call(nr uintptr, args []kernelio.Arg, known []error) func() (Answer, error) {
	return func() (Answer, error) {
		_, err := kernelio.Syscall(nr, args...)
		for _, k := range known {
			if errors.Is(err, k) {
				err = nil
			}
		}
		return answered(err, unix.ENOSYS)
	}
}

// file probes by a file of /proc.
func file(path string) func() (Answer, error) {
	return func() (Answer, error) {
		_, err := os.Lstat(path)
		return answered(err, fs.ErrNotExist)
	}
}

// traced probes by a request of ptrace(2), which knows the ones that it does
// not know as EIO.
func traced(f func(pid int) error, no ...error) func() (Answer, error) {
	return func() (a Answer, err error) {
		started := kernelio.WithTracee(func(pid int) error {
			a, err = answered(f(pid), append(no, unix.EIO)...)
			return nil
		})
		if started != nil {
			return Unknown, started
		}
		return a, err
	}
}

// suspendSeccomp: who lacks the right to it gets EPERM, where it is known.
func suspendSeccomp(pid int) error {
	err := kernelio.PtraceSetOptions(pid, unix.PTRACE_O_SUSPEND_SECCOMP)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func filter(pid int) error {
	err := kernelio.TraceFilter(pid)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	return err
}

// tmpfile tries some places where everybody may write, since filesystems
// differ in this.
func tmpfile() (a Answer, err error) {
	for _, dir := range []string{os.TempDir(), "/dev/shm", "/tmp"} {
		var fd *kernelio.FD
		if fd, err = kernelio.OpenPath(dir, unix.O_TMPFILE|unix.O_RDWR); err == nil {
			return Yes, fd.Close()
		}
		if a, err = answered(err, unix.EISDIR, unix.EOPNOTSUPP); a == No {
			return a, err
		}
	}
	return a, err
}

func layoutSize() (Answer, error) {
	_, err := kernelio.Syscall(unix.SYS_PRCTL, kernelio.Int(unix.PR_SET_MM), kernelio.Int(unix.PR_SET_MM_MAP_SIZE),
		kernelio.Buf(make([]byte, 4)), kernelio.Int(0), kernelio.Int(0))
	return answered(err, unix.EINVAL)
}

// epollTarget: a kernel that compares epoll targets looks for the slot first.
func epollTarget() (Answer, error) {
	me := kernelio.Int(os.Getpid())
	_, err := kernelio.Syscall(unix.SYS_KCMP, me, me, kernelio.Int(abi.KcmpEpollTFD), kernelio.Int(math.MaxInt32), kernelio.Int(0))
	if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EBADF) {
		err = nil
	}
	return answered(err, unix.EINVAL, unix.EOPNOTSUPP)
}

// nextWatch asks for a number that no watch can have.
func nextWatch() (Answer, error) {
	fd, err := kernelio.Syscall(unix.SYS_INOTIFY_INIT1, kernelio.Int(unix.IN_CLOEXEC))
	if err != nil {
		return Unknown, err
	}
	defer kernelio.CloseFD(int(fd))
	const setNextWD = 0x40044900 // INOTIFY_IOC_SETNEXTWD, linux/inotify.h
	_, err = kernelio.Syscall(unix.SYS_IOCTL, kernelio.Int(fd), kernelio.Int(setNextWD), kernelio.Int(0))
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return answered(err, unix.ENOTTY)
}

// setTID: who may not choose gets EPERM. Before set_tid, the size of the
// arguments alone was too much.
func setTID() (Answer, error) {
	err := kernelio.TrySetTID()
	if errors.Is(err, unix.EPERM) {
		if st, e := ownStatus(); e != nil || st.Seccomp != 0 {
			return Unknown, err // a container's filter may have said so
		}
		err = nil
	}
	return answered(err, unix.ENOSYS, unix.E2BIG, unix.EINVAL)
}

func ownStatus() (*abi.Status, error) {
	p, err := kernelio.OpenProc(kernelio.PID())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Status()
}

func capability() (Answer, error) {
	_, err := kernelio.Syscall(unix.SYS_PRCTL, kernelio.Int(unix.PR_CAPBSET_READ), kernelio.Int(unix.CAP_CHECKPOINT_RESTORE))
	return answered(err, unix.EINVAL)
}

// scan asks for pages of nothing, by categories that the kernel must know.
func scan(categories abi.PageCategories) func() (Answer, error) {
	return func() (Answer, error) {
		fd, err := kernelio.OpenPath("/proc/self/pagemap", unix.O_RDONLY)
		if err != nil {
			return Unknown, err
		}
		defer fd.Close()
		q := abi.PMScanArg{Mask: categories, Return: abi.PageIsPresent | categories}
		_, err = kernelio.Syscall(unix.SYS_IOCTL, kernelio.Int(fd.Int()), kernelio.Int(abi.PagemapScan), kernelio.Buf(q.Encode()))
		return answered(err, unix.ENOTTY, unix.EINVAL)
	}
}

// guard advises no page at all: only the advice is looked at.
func guard() (Answer, error) {
	const madvGuardInstall = 102 // asm-generic/mman-common.h
	_, err := kernelio.Syscall(unix.SYS_MADVISE, kernelio.Int(0), kernelio.Int(0), kernelio.Int(madvGuardInstall))
	return answered(err, unix.EINVAL)
}

func timerIDs() (Answer, error) {
	const createRestoreIDs, get = 77, 2 // PR_TIMER_CREATE_RESTORE_IDS(2const)
	_, err := kernelio.Syscall(unix.SYS_PRCTL, kernelio.Int(createRestoreIDs), kernelio.Int(get), kernelio.Int(0), kernelio.Int(0), kernelio.Int(0))
	return answered(err, unix.EINVAL)
}
