package kernelio

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// StepDown makes the real ids of this process the effective ones, and no
// capability effective, in every thread. What a set-id or file-capability
// binary was lent stays permitted, and user root the saved one: TakeOn,
// WithCredentials and WithEffective get at it, Drop ends it.
func StepDown() error {
	was, err := OwnCredentials()
	if err != nil {
		return err
	}
	want, u, g := was, was.UID.Real, was.GID.Real
	want.UID = abi.IDs{Real: u, Effective: u, Saved: was.UID.Saved, FS: u}
	want.GID = abi.IDs{Real: g, Effective: g, Saved: was.GID.Saved, FS: g}
	want.Effective = 0
	return failed(becomeAll(&was, &want), "step down to user", u, ", group ", g)
}

// WithEffective runs f with capabilities effective that this thread is only
// permitted, and none others. The goroutine must be locked to its thread.
func WithEffective(caps abi.CapSet, f func() error) error {
	was, err := ThreadCredentials()
	if err != nil {
		return err
	}
	if err := capset(caps, was.Permitted, was.Inheritable, thisThread); err != nil {
		return err
	}
	err = f()
	if back := capset(was.Effective, was.Permitted, was.Inheritable, thisThread); err == nil {
		err = back
	}
	return err
}

// initUserNS is the inode of the namespace that the machine boots with
// (PROC_USER_INIT_INO, linux/proc_ns.h).
const initUserNS = 0xEFFFFFFD

// InInitialUserNS says whether root here is the machine's root.
func InInitialUserNS() (bool, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/ns/user", &st)
	return st.Ino == initUserNS, failed(err, "stat", "/proc/self/ns/user")
}

// CloseInherited closes the descriptors above the standard ones that this
// process was started with: those that an exec does not close. All that this
// program opens by itself is closed by one.
func CloseInherited(except int) error {
	all, err := OpenFDs()
	if err != nil {
		return err
	}
	for n := range all {
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
		if err == nil && n > 2 && n != except && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(n)
		}
	}
	return nil
}

// ResetTimers stops the three interval timers, which outlive an exec
// (alarm(2), setitimer(2)).
func ResetTimers() error {
	zero := make([]byte, 32) // struct itimerval
	for _, which := range []int{unix.ITIMER_REAL, unix.ITIMER_VIRTUAL, unix.ITIMER_PROF} {
		if _, err := Syscall(unix.SYS_SETITIMER, Int(which), Buf(zero), Int(0)); err != nil {
			return failed(err, "setitimer", which)
		}
	}
	return nil
}

// Umask sets the file mode creation mask.
func Umask(mask int) { unix.Umask(mask) }

// Rise takes up again, in every thread, what StepDown laid down of what a
// binary that is set-user-id root was lent: root's ids, and all capabilities
// that are permitted. The caller's groups are gone then.
func Rise() error {
	was, err := OwnCredentials()
	if err != nil {
		return err
	}
	if err := capset(was.Permitted, was.Permitted, was.Inheritable, allThreads); err != nil {
		return err
	}
	was.Effective = was.Permitted
	want := was
	want.UID, want.GID, want.Groups = abi.IDs{}, abi.IDs{}, nil
	return failed(becomeAll(&was, &want), "take up root's authority")
}
