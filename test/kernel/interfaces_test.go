package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// interfaces are what is tested, by names: each does what a restore or a dump does, and finds that it has happened.
var interfaces = map[string]func() error{
	"clone3":            cloneSetTID,
	"ns_last_pid":       lastPID,
	"map_files":         mapFiles,
	"map_files memfd":   mapFilesMemfd,
	"readlink":          readLink,
	"exe":               exeLink,
	"layout":            func() error { return layout(abi.NoExeFD) },
	"choose afterwards": afterwards,
}

// choose makes a child with the number pid, or the next one for 0, which ends at once.
func choose(pid int) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	args := abi.CloneArgs{ExitSignal: uint64(unix.SIGCHLD)}
	tid := int32(pid)
	if pid != 0 {
		args.SetTID, args.SetTIDSize = uint64(uintptr(unsafe.Pointer(&tid))), 1
	}
	b := args.Encode()
	n, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0)
	if n == 0 && errno == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 7, 0, 0)
	}
	runtime.KeepAlive(&tid)
	if errno != 0 {
		return 0, errno
	}
	var s unix.WaitStatus
	if _, err := unix.Wait4(int(n), &s, 0, nil); err != nil || s.ExitStatus() != 7 {
		return 0, fmt.Errorf("child %d ended with %v, %w", n, s, err)
	}
	return int(n), nil
}

// free is a number that nobody has.
func free() int {
	for pid := 29999; pid > 2; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			return pid
		}
	}
	return 0
}

// cloneSetTID: some number is free when it is looked for and taken a moment later.
func cloneSetTID() error {
	for try := 0; ; try++ {
		want := free()
		got, err := choose(want)
		if errors.Is(err, unix.EEXIST) && try < 20 {
			continue
		}
		if err == nil && got != want {
			err = fmt.Errorf("the child has %d and not %d", got, want)
		}
		return err
	}
}

// lastPID does the same by the number that comes before it. Others fork meanwhile: it is tried again.
func lastPID() error {
	f, err := os.OpenFile("/proc/sys/kernel/ns_last_pid", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	for try := 0; ; try++ {
		want := free()
		if _, err := f.WriteAt(fmt.Appendln(nil, want-1), 0); err != nil {
			return err
		}
		got, err := choose(0)
		if err != nil || got == want {
			return err
		}
		if try == 50 {
			return fmt.Errorf("the child has %d and not %d", got, want)
		}
	}
}

// afterwards: the right is gone with the capability, in the same process.
func afterwards() error {
	if err := cloneSetTID(); err != nil {
		return err
	}
	header, data := abi.CapHeader(0), abi.CapData(0, 0, 0)
	runtime.LockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header[0])), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return errno
	}
	if err := cloneSetTID(); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("without the capability: %v", err)
	}
	return nil
}

// mapping maps a file and finds the name of its link in map_files.
func mapping(fd int) (link string, err error) {
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return "", err
	}
	at := uintptr(unsafe.Pointer(&b[0]))
	return fmt.Sprintf("/proc/self/map_files/%x-%x", at, at+4096), nil
}

const content = "what nobody can name any more"

// followed reads a file by the link of a mapping.
func followed(fd int) error {
	link, err := mapping(fd)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(link)
	if err == nil && !bytes.HasPrefix(b, []byte(content)) {
		err = fmt.Errorf("%s holds %q", link, b)
	}
	return err
}

func deleted() (*os.File, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "deleted")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	_, err = f.WriteString(content)
	return f, err
}

func mapFiles() error {
	f, err := deleted()
	if err != nil {
		return err
	}
	return followed(int(f.Fd()))
}

func mapFilesMemfd() error {
	fd, err := unix.MemfdCreate("test", 0)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return err
	}
	return followed(fd)
}

// readLink: what the link says, and which device and inode, can be known by anybody.
func readLink() error {
	f, err := deleted()
	if err != nil {
		return err
	}
	link, err := mapping(int(f.Fd()))
	if err != nil {
		return err
	}
	to, err := os.Readlink(link)
	if err == nil && to != f.Name()+" (deleted)" {
		err = fmt.Errorf("%s leads to %q", link, to)
	}
	return err
}

// exeLink has a small program change what /proc/self/exe names.
func exeLink() error {
	const target = "/proc/self/exe"
	want, err := os.Readlink(target)
	if err != nil {
		return err
	}
	out, err := exec.Command(os.Getenv(exeLinkAt), target).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return syscall.Errno(exit.ExitCode())
	}
	// The small program has opened its own link, which it is to have again.
	if err == nil && string(out) != os.Getenv(exeLinkAt) {
		err = fmt.Errorf("the link is %q", out)
	}
	if err != nil {
		return err
	}
	if out, err = exec.Command(os.Getenv(exeLinkAt), want).Output(); err == nil && string(out) != want {
		err = fmt.Errorf("the link is %q and not %q", out, want)
	}
	return err
}

// layout sets this process's own layout as it is (PR_SET_MM_MAP), which needs no capability as long as the program stays.
func layout(exe uint32) error {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	st, err := abi.ParseStat(b)
	if err != nil {
		return err
	}
	m := abi.MMMap{StartCode: st.StartCode, EndCode: st.EndCode, StartData: st.StartData, EndData: st.EndData, StartBrk: st.StartBrk,
		Brk: st.StartBrk, StartStack: st.StartStk, ArgStart: st.ArgStart, ArgEnd: st.ArgEnd, EnvStart: st.EnvStart, EnvEnd: st.EnvEnd, ExeFD: exe}
	raw := m.Encode()
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(&raw[0])), uintptr(len(raw)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// outcome is an error in a word: ok, the name of an errno, or what else went wrong.
func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}
