package kernelio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// The functions of this file find out by trying what the caller may do, in
// ways that change nothing: each makes the call that matters with something
// about it that the kernel looks at only after it has looked at the right. The
// result is nil for who has the right, or the kernel's word against it.

// TrySetTID tries to choose the number of a new process (clone3(2), set_tid):
// our own, which is taken. alloc_pid in kernel/pid.c finds that out after it
// has asked for CAP_CHECKPOINT_RESTORE.
func TrySetTID() error {
	tid := binary.LittleEndian.AppendUint32(nil, uint32(unix.Getpid()))
	args := abi.CloneArgs{ExitSignal: uint64(unix.SIGCHLD), SetTIDSize: 1}
	_, err := Syscall(unix.SYS_CLONE3, Buf(args.Encode(), Reloc{abi.CloneArgsSetTID, 8, Buf(tid)}), Int(abi.SizeofCloneArgs))
	return rather(err, unix.EEXIST)
}

// TryLastPID tries to say which number comes next (ns_last_pid): none that
// there could be. pid_ns_ctl_handler in kernel/pid_namespace.c asks for the
// right first.
func TryLastPID() error {
	fd, err := openat(unix.AT_FDCWD, "/proc/sys/kernel/ns_last_pid", unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer fd.Close()
	_, err = unix.Write(fd.Int(), []byte("-1\n"))
	return rather(err, unix.EINVAL)
}

// TryMapFiles tries to follow a link of map_files, of the caller itself.
func TryMapFiles() error {
	p, err := OpenProc(unix.Getpid())
	if err != nil {
		return err
	}
	defer p.Close()
	maps, err := p.Maps()
	if err != nil {
		return err
	}
	for _, v := range maps {
		if v.Inode == 0 {
			continue
		}
		fd, err := p.Open(fmt.Sprintf("map_files/%x-%x", v.Start, v.End), unix.O_PATH)
		if err == nil {
			fd.Close()
		}
		return err
	}
	return errors.New("this program has no file mapped")
}

// TryExeLink tries to change which program /proc/self/exe names
// (PR_SET_MM_MAP, prctl(2)), to a descriptor that is none. Nothing of what
// goes with it is changed then (prctl_set_mm_map in kernel/sys.c).
func TryExeLink() error {
	m, err := ownLayout()
	if err != nil {
		return err
	}
	_, err = Syscall(unix.SYS_PRCTL, Int(unix.PR_SET_MM), Int(unix.PR_SET_MM_MAP), Buf(m), Int(len(m)), Int(0))
	return rather(err, unix.EBADF)
}

// ownLayout is struct prctl_mm_map of linux/prctl.h for this process as it is,
// but for an executable file that does not exist.
func ownLayout() ([]byte, error) {
	st, err := inProc(unix.Getpid(), (*ProcDir).Stat)
	if err != nil {
		return nil, err
	}
	m := abi.MMMap{StartCode: st.StartCode, EndCode: st.EndCode, StartData: st.StartData, EndData: st.EndData,
		StartBrk: st.StartBrk, Brk: st.StartBrk, StartStack: st.StartStk, ArgStart: st.ArgStart, ArgEnd: st.ArgEnd,
		EnvStart: st.EnvStart, EnvEnd: st.EnvEnd, ExeFD: 1<<31 - 2}
	return m.Encode(), nil
}

// TryReadMemory tries to read the memory of a process, at an address where
// nothing is: EFAULT comes after the right to trace it was found (ptrace(2),
// PTRACE_MODE_ATTACH_REALCREDS).
func TryReadMemory(pid int) error {
	_, err := ReadMem(pid, 8, make([]byte, 1))
	return rather(err, unix.EFAULT)
}

// TryFileHandle tries to open a file by its handle (open_by_handle_at(2)).
func TryFileHandle() error {
	h, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	if err != nil {
		return failed(err, "name_to_handle_at", "/")
	}
	_ = mount
	dir, err := openat(unix.AT_FDCWD, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.OpenByHandleAt(dir.Int(), h, unix.O_PATH|unix.O_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return failed(err, "open_by_handle_at", "/")
}

// TryNamespaces tries to make namespaces (CLONE_NEW* of clone(2)) together with
// a user namespace in which the caller is root, by starting a program there
// that does not exist.
func TryNamespaces(flags uintptr) error {
	_, err := syscall.ForkExec(nowhere, []string{nowhere}, inNamespaces(flags))
	return rather(err, syscall.ENOTDIR)
}

// nowhere can't be a program, for a reason that nothing else gives.
const nowhere = "/dev/null/none"

func inNamespaces(flags uintptr) *syscall.ProcAttr {
	ids := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	return &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: flags | unix.CLONE_NEWUSER, Pdeathsig: unix.SIGKILL,
		UidMappings: ids(os.Geteuid()), GidMappings: ids(os.Getegid())}}
}

// TryMountProc tries to mount /proc in a PID namespace of a user namespace of
// its own, which the kernel allows only where the /proc that is there is whole
// (mount_too_revealing in fs/namespace.c). It takes mount(8); os.ErrNotExist
// where there is none.
func TryMountProc() error {
	const mount = "/bin/mount"
	if _, err := os.Stat(mount); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	attr := inNamespaces(unix.CLONE_NEWPID | unix.CLONE_NEWNS)
	attr.Files = []uintptr{null.Fd(), null.Fd(), null.Fd()}
	pid, err := syscall.ForkExec(mount, []string{"mount", "-n", "-t", "proc", "proc", "/proc"}, attr)
	if err != nil {
		return failed(err, "clone", mount)
	}
	if s, err := Reap(pid); err != nil || s != 0 {
		return errors.Join(err, unix.EPERM)
	}
	return nil
}

// WithTracee starts this program once more, stopped before its first
// instruction and traced by the thread that runs f, and ends it.
func WithTracee(f func(pid int) error) error {
	return onThrowawayThread(func() error {
		const self = "/proc/self/exe"
		pid, err := syscall.ForkExec(self, []string{self}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: unix.SIGKILL}})
		if err != nil {
			return failed(err, "trace", self)
		}
		_, err = Reap(pid) // its stop, not its end
		if err == nil {
			err = f(pid)
		}
		kill := Kill(pid, unix.SIGKILL)
		_, end := Reap(pid)
		return errors.Join(err, kill, end)
	})
}

// TraceFilter tries to read a seccomp filter of a tracee that has none
// (PTRACE_SECCOMP_GET_FILTER; seccomp_get_filter asks for CAP_SYS_ADMIN first).
func TraceFilter(pid int) error {
	_, err := ptrace(unix.PTRACE_SECCOMP_GET_FILTER, pid, 0, nil)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// rather is nil for the error that comes to those who may, and the error else.
func rather(err, wanted error) error {
	switch {
	case errors.Is(err, wanted):
		return nil
	case err == nil:
		return fmt.Errorf("it worked, where %w was to be expected", wanted)
	}
	return err
}

// FileCaps are the capabilities that a program's file lends to whoever runs
// it (capabilities(7), struct vfs_cap_data of linux/capability.h); effective
// says whether they are at work from the start.
func FileCaps(path string) (caps abi.CapSet, effective bool, err error) {
	b := make([]byte, 24)
	n, err := unix.Getxattr(path, "security.capability", b)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, failed(err, "getxattr", path)
	}
	if n < 12 {
		return 0, false, fmt.Errorf("the capabilities of %s are %d bytes", path, n)
	}
	le := binary.LittleEndian
	caps = abi.CapSet(le.Uint32(b[4:]))
	if n >= 20 {
		caps |= abi.CapSet(le.Uint32(b[12:])) << 32
	}
	return caps, le.Uint32(b)&1 != 0, nil
}

// HonoursSetID says whether the kernel heeds the set-id bits and capabilities
// of a program: its filesystem may be mounted nosuid, or no_new_privs be set.
func HonoursSetID(path string) (bool, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(path, &st) }); err != nil {
		return false, failed(err, "statfs", path)
	}
	own, err := OwnCredentials()
	return st.Flags&unix.ST_NOSUID == 0 && !own.NoNewPrivs, err
}
