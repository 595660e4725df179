package kernelio

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// Credentials are what one thread may do (credentials(7), capabilities(7)).
type Credentials struct {
	UID, GID    abi.IDs
	Groups      []uint32 // as the kernel keeps them: ascending
	Inheritable abi.CapSet
	Permitted   abi.CapSet
	Effective   abi.CapSet
	Bounding    abi.CapSet
	Ambient     abi.CapSet
	NoNewPrivs  bool
}

// CredentialsOf takes the credentials from a status file.
func CredentialsOf(s *abi.Status) Credentials {
	return Credentials{
		UID: s.UID, GID: s.GID, Groups: s.Groups,
		Inheritable: s.CapInh, Permitted: s.CapPrm, Effective: s.CapEff, Bounding: s.CapBnd, Ambient: s.CapAmb,
		NoNewPrivs: s.NoNewPrivs,
	}
}

// Equal says whether both are the same in everything.
func (c *Credentials) Equal(d *Credentials) bool {
	return slices.Equal(c.Groups, d.Groups) && c.UID == d.UID && c.GID == d.GID &&
		c.Inheritable == d.Inheritable && c.Permitted == d.Permitted && c.Effective == d.Effective &&
		c.Bounding == d.Bounding && c.Ambient == d.Ambient && c.NoNewPrivs == d.NoNewPrivs
}

// sameIDs says whether both are the same users and groups.
func (c *Credentials) sameIDs(d *Credentials) bool {
	return slices.Equal(c.Groups, d.Groups) && c.UID == d.UID && c.GID == d.GID
}

// FirstCredentials gives those that this process was started with, as long as
// nothing has changed them in any thread.
func FirstCredentials() (Credentials, error) {
	s, err := inProc(unix.Getpid(), (*ProcDir).Status)
	if err != nil {
		return Credentials{}, err
	}
	return CredentialsOf(s), nil
}

// OwnCredentials gives the credentials of this process, which all its threads
// must have: in Linux every thread has its own.
func OwnCredentials() (Credentials, error) {
	all, err := ownThreads()
	if err != nil {
		return Credentials{}, err
	}
	first := all[unix.Getpid()]
	for tid, c := range all {
		if !c.Equal(&first) {
			return first, fmt.Errorf("thread %d has other credentials than the process: %+v and %+v", tid, c, first)
		}
	}
	return first, nil
}

// ownThreads reads the credentials of each thread of this process.
func ownThreads() (map[int]Credentials, error) {
	p, err := OpenProc(unix.Getpid())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	tids, err := p.Threads()
	if err != nil {
		return nil, err
	}
	out := map[int]Credentials{}
	for _, tid := range tids {
		s, err := p.ThreadStatus(tid)
		if IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[tid] = CredentialsOf(s)
	}
	return out, nil
}

// Drop makes uid, gid and groups the only ids of this process and keep its
// only capabilities, permitted and effective, in every thread and for good:
// real, effective and saved ids are set, and afterwards /proc is asked whether
// every thread has become so. What is so already is not set, so that a
// process without privilege may drop to itself. It must not run beside
// WithCredentials. A failure may leave the process between two states: exit.
func Drop(uid, gid uint32, groups []uint32, keep abi.CapSet) error {
	return drop(uid, gid, groups, keep, keep)
}

// LayDown is Drop, but that what is kept is only permitted: it is to be had when
// it is needed (WithEffective).
func LayDown(uid, gid uint32, groups []uint32, keep abi.CapSet) error {
	return drop(uid, gid, groups, keep, 0)
}

func drop(uid, gid uint32, groups []uint32, permitted, effective abi.CapSet) error {
	was, err := OwnCredentials()
	if err != nil {
		return err
	}
	want := was
	want.UID = abi.IDs{Real: uid, Effective: uid, Saved: uid, FS: uid}
	want.GID = abi.IDs{Real: gid, Effective: gid, Saved: gid, FS: gid}
	want.Groups = slices.Sorted(slices.Values(groups))
	want.Permitted, want.Effective, want.Inheritable, want.Ambient = permitted, effective, 0, 0
	return failed(becomeAll(&was, &want), "drop privilege to user", uid, ", group ", gid)
}

// GiveUp takes all capabilities from every thread of this process, for good, and
// asks /proc whether they are gone.
func GiveUp() error {
	if err := capset(0, 0, 0, allThreads); err != nil {
		return err
	}
	now, err := OwnCredentials()
	if left := now.Permitted | now.Effective | now.Inheritable | now.Ambient; err == nil && left != 0 {
		err = fmt.Errorf("the process still has the capabilities %x", left)
	}
	return err
}

// becomeAll changes every thread of this process and asks /proc whether it
// has happened.
func becomeAll(was, want *Credentials) error {
	if err := become(was, want, allThreads); err != nil {
		return err
	}
	now, err := OwnCredentials()
	if err == nil && !now.Equal(want) {
		err = fmt.Errorf("the process has %+v and not %+v", now, *want)
	}
	return err
}

// WithCredentials runs f on a thread of its own that wears the credentials c,
// and ends that thread: nobody else ever runs with them. The bounding set and
// no_new_privs stay the caller's. Files that f opens, sockets that it makes
// belong to c. The kernel makes the process non-dumpable meanwhile and leaves
// it so (commit_creds in kernel/cred.c).
func WithCredentials(c Credentials, f func() error) error {
	return onThrowawayThread(func() error {
		if err := TakeOn(c); err != nil {
			return err
		}
		return f()
	})
}

// ThreadCredentials are those of the calling thread.
func ThreadCredentials() (c Credentials, err error) {
	p, err := OpenProc(unix.Getpid())
	if err != nil {
		return c, err
	}
	defer p.Close()
	s, err := p.ThreadStatus(unix.Gettid())
	if err != nil {
		return c, err
	}
	return CredentialsOf(s), nil
}

// caller makes a call in this thread or in all of them.
type caller func(nr uintptr, args ...Arg) error

func thisThread(nr uintptr, args ...Arg) error {
	_, err := Syscall(nr, args...)
	return err
}

// become changes from one state to another: groups and gids while there is
// privilege, then uids, keeping the capabilities over that, then those.
func become(was, want *Credentials, call caller) error {
	if was.Effective != was.Permitted && !was.sameIDs(want) {
		if err := capset(was.Permitted, was.Permitted, was.Inheritable, call); err != nil {
			return err
		}
	}
	if !slices.Equal(was.Groups, want.Groups) {
		if err := setGroups(want.Groups, call); err != nil {
			return err
		}
	}
	if err := setIDs(was.GID, want.GID, unix.SYS_SETRESGID, call); err != nil {
		return failed(err, "setresgid", want.GID)
	}
	if want.GID.FS != want.GID.Effective {
		call(unix.SYS_SETFSGID, Int(want.GID.FS)) // its result is the former id, there are no errors
	}
	if err := setUIDs(was, want, call); err != nil {
		return err
	}
	return setCaps(want, call)
}

// setUIDs changes the uids and keeps the permitted capabilities over that,
// for want and for a fourth uid of its own.
func setUIDs(was, want *Credentials, call caller) error {
	keep := was.UID != want.UID && (want.Permitted != 0 || want.UID.FS != want.UID.Effective)
	if keep {
		if err := call(unix.SYS_PRCTL, Int(unix.PR_SET_KEEPCAPS), Int(1), Int(0), Int(0), Int(0)); err != nil {
			return failed(err, "prctl", "PR_SET_KEEPCAPS")
		}
	}
	if err := setIDs(was.UID, want.UID, unix.SYS_SETRESUID, call); err != nil {
		return failed(err, "setresuid", want.UID)
	}
	if !keep {
		return nil
	}
	if err := capset(was.Permitted, was.Permitted, was.Inheritable, call); err != nil {
		return err
	}
	if want.UID.FS != want.UID.Effective {
		call(unix.SYS_SETFSUID, Int(want.UID.FS)) // its result is the former id, there are no errors
	}
	err := call(unix.SYS_PRCTL, Int(unix.PR_SET_KEEPCAPS), Int(0), Int(0), Int(0), Int(0))
	return failed(err, "prctl", "PR_SET_KEEPCAPS")
}

func setGroups(groups []uint32, call caller) error {
	list := abi.EncodeGroups(groups)
	return failed(call(unix.SYS_SETGROUPS, Int(len(groups)), Buf(list)), "setgroups", groups)
}

// setIDs sets the first three ids, which sets the fourth to the effective one.
func setIDs(was, want abi.IDs, setres uintptr, call caller) error {
	if was == want {
		return nil
	}
	return call(setres, Int(want.Real), Int(want.Effective), Int(want.Saved))
}

func capset(effective, permitted, inheritable abi.CapSet, call caller) error {
	err := call(unix.SYS_CAPSET, Buf(abi.CapHeader(0)), Buf(abi.CapData(effective, permitted, inheritable)))
	return failed(err, "capset", fmt.Sprintf("%#x", permitted))
}

func setCaps(want *Credentials, call caller) error {
	if err := capset(want.Effective, want.Permitted, want.Inheritable, call); err != nil {
		return err
	}
	if err := ambient(call, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return err
	}
	for n := range 64 {
		if !want.Ambient.Has(n) {
			continue
		}
		if err := ambient(call, unix.PR_CAP_AMBIENT_RAISE, n); err != nil {
			return err
		}
	}
	return nil
}

func ambient(call caller, what, capability int) error {
	err := call(unix.SYS_PRCTL, Int(unix.PR_CAP_AMBIENT), Int(what), Int(capability), Int(0), Int(0))
	return failed(err, "prctl PR_CAP_AMBIENT", what, " ", capability)
}

// SetDumpable sets whether this process can be traced and dumps core
// (PR_SET_DUMPABLE): 0 or 1.
func SetDumpable(v int) error {
	return failed(unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(v), 0, 0, 0), "prctl PR_SET_DUMPABLE", v)
}

// Dumpable is the value of PR_GET_DUMPABLE: 0, 1, or 2 after a set-id exec.
func Dumpable() (int, error) {
	v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return v, failed(err, "prctl", "PR_GET_DUMPABLE")
}

// SetNoNewPrivs sets no_new_privs in every thread, for good.
func SetNoNewPrivs() error {
	err := allThreads(unix.SYS_PRCTL, Int(unix.PR_SET_NO_NEW_PRIVS), Int(1), Int(0), Int(0), Int(0))
	return failed(err, "prctl PR_SET_NO_NEW_PRIVS", 1)
}

// Elevated says whether the kernel started this process with more authority
// than its caller had: a set-id or file-capability program (AT_SECURE,
// getauxval(3)). It is asked of the runtime, since the file in /proc is closed
// to a program that isn't dumpable.
func Elevated() (bool, error) {
	auxv, err := unix.Auxv()
	if err != nil {
		return false, err
	}
	for _, a := range auxv {
		if a[0] == abi.AtSecure {
			return a[1] != 0, nil
		}
	}
	return false, errors.New("the auxiliary vector has no AT_SECURE")
}
