package kernelio

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// MountProc shows the PID namespace of this process at /proc, in a mount
// namespace of its own: nothing of it reaches others. The kernel refuses it to
// user namespaces where a part of the /proc they see is covered
// (mount_too_revealing in fs/namespace.c).
func MountProc() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return failed(err, "mount MS_PRIVATE", "/")
	}
	return failed(unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""), "mount proc", "/proc")
}

// DropBounding leaves only keep in the bounding set of every thread, which is was.
func DropBounding(was, keep abi.CapSet) error {
	for n := range 64 {
		if !was.Has(n) || keep.Has(n) {
			continue
		}
		if err := allThreads(unix.SYS_PRCTL, Int(unix.PR_CAPBSET_DROP), Int(n), Int(0), Int(0), Int(0)); err != nil {
			return failed(err, "prctl PR_CAPBSET_DROP", n)
		}
	}
	return nil
}

// OutliveParent takes back that this process dies with its parent.
func OutliveParent() error {
	err := allThreads(unix.SYS_PRCTL, Int(unix.PR_SET_PDEATHSIG), Int(0), Int(0), Int(0), Int(0))
	return failed(err, "prctl PR_SET_PDEATHSIG", 0)
}

// ReapAny waits for the death of any child: of all that this process has, as
// the init of a PID namespace does. ECHILD: there is none.
func ReapAny() (int, unix.WaitStatus, error) {
	var s unix.WaitStatus
	pid, err := againFor(func() (int, error) { return unix.Wait4(-1, &s, unix.WALL, nil) })
	return pid, s, failed(err, "wait4", -1)
}

// lastPID is the file in which the kernel keeps the number that the namespace
// gave last (proc_sys_kernel(5)).
const lastPID = "/proc/sys/kernel/ns_last_pid"

// SetLastPID has the next task of this PID namespace get the number after n, or
// the first one after that that is free.
func SetLastPID(n int) error {
	return os.WriteFile(lastPID, strconv.AppendInt(nil, int64(n), 10), 0)
}

// LockLastPID takes the lock by which programs that set the last number keep
// out of each other's way: flock(2) on the file itself. Closing it gives the
// lock back.
func LockLastPID(deadline time.Time) (*os.File, error) {
	f, err := os.OpenFile(lastPID, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		f.Close()
		return nil, failed(err, "flock", lastPID)
	}
	return f, nil
}

// Exec executes a program in the place of this one, with the descriptors that
// are open and not close-on-exec.
func Exec(path string, argv []string) error {
	return failed(unix.Exec(path, argv, os.Environ()), "execve", path)
}

// KeepFD has an Exec leave a descriptor open.
func KeepFD(n int) error {
	_, err := unix.FcntlInt(uintptr(n), unix.F_SETFD, 0)
	return failed(err, "fcntl F_SETFD", fmt.Sprint(n))
}

// Memfd makes a file in memory that no child inherits.
func Memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, failed(err, "memfd_create", name)
	}
	return os.NewFile(uintptr(fd), name), nil
}
