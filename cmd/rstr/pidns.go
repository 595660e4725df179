package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// A restore in a new PID namespace has two of us: the outer one, which the
// caller has started, opens and verifies the image; the inner one is the init
// of the namespace and builds the tree there, where all numbers are free. They
// talk over a socket: insideFacts first, then insideEvents. The inner one dies
// with the outer one until the tree runs; then it stays as long as there are
// processes.

// insideFacts is what the inner rstr can't find out by itself.
type insideFacts struct {
	Digest   string // of the manifest that was verified
	Size     int64  // of the image
	UserNS   bool   // it lives in a user namespace of its own, too
	Groups   []uint32
	Bounding abi.CapSet
	Dir      string // the caller's, where rstr has left it
	Room     int    // all numbers of the tree are below; 0: none is in the way
	// Reasons say why nobody trusts the image: from there, root's files look like
	// nobody's.
	Reasons []string
}

// insideEvent is what the inner rstr tells. One field is set.
type insideEvent struct {
	Runs   *insideTree `json:",omitempty"`
	Failed *int        `json:",omitempty"` // the exit code; what happened has been said
	Ended  *uint32     `json:",omitempty"` // the wait status of the tree's root
	Unfit  *string     `json:",omitempty"` // why no tree can be built there
	Again  bool        `json:",omitempty"` // it wants the facts once more
	Fit    bool        `json:",omitempty"` // a tree could be built there; it was only a question
}

type insideTree struct {
	PID, Tasks, Threads int
	Reserving           time.Duration
}

// Descriptors of the inner rstr.
const (
	insideSocket = 3
	insideImage  = 4
)

// capabilities are what the inner rstr is given in its own user namespace: to
// mount /proc, to choose PIDs, and to put its bounding set right.
var insideCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SETPCAP}

// inner is the inner rstr as the outer one has it.
type inner struct {
	proc   *os.Process
	socket *os.File
	events *json.Decoder
	facts  insideFacts
}

// hand tells the facts.
func (in *inner) hand() error { return json.NewEncoder(in.socket).Encode(in.facts) }

// errNoNamespace says that this host makes no namespaces for the caller.
var errNoNamespace = errors.New("no new PID namespace is to be had")

// enter has the inner rstr build the tree.
func (o *options) enter(b *built, file *os.File, size int64) (err error) {
	if b.inner, err = o.startInner(insideFlag, b.img, file, size); err != nil {
		return err
	}
	return b.inner.await(b)
}

// startInner starts the inner rstr, and tells it the facts.
func (o *options) startInner(flag string, img *verify.Image, file *os.File, size int64) (*inner, error) {
	own, err := kernelio.OwnCredentials()
	if err != nil {
		return nil, err
	}
	facts := insideFacts{Digest: fmt.Sprintf("sha256:%x", img.Verdict().Manifest), Size: size, UserNS: !own.Effective.Has(unix.CAP_SYS_ADMIN),
		Groups: own.Groups, Bounding: own.Bounding, Dir: o.who.dir}
	for _, why := range img.Verdict().Reasons {
		facts.Reasons = append(facts.Reasons, why.Error())
	}
	if facts.Room, err = roomFor(img.Manifest().PIDs); err != nil {
		return nil, err
	}
	mine, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	exe, done, err := o.plainSelf()
	if err != nil {
		return nil, errors.Join(err, mine.Close(), theirs.Close())
	}
	defer done()
	runtime.LockOSThread() // whose end would be taken for the end of rstr (PR_SET_PDEATHSIG in prctl(2))
	proc, err := os.StartProcess(exe, append([]string{os.Args[0], flag}, os.Args[1:]...),
		&os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, theirs, file}, Sys: namespaces(&own, facts.UserNS)})
	theirs.Close() // or nobody would notice that the inner one is gone
	if err != nil {
		mine.Close()
		return nil, unfitFor(err)
	}
	in := &inner{proc, mine, json.NewDecoder(mine), facts}
	return in, in.hand()
}

// tryNamespace finds out whether the tree could be built in a new PID namespace,
// by having one made for a moment. The error says why not.
func (o *options) tryNamespace(img *verify.Image, file *os.File, size int64) error {
	in, err := o.startInner(insideTry, img, file, size)
	if err != nil {
		return err
	}
	defer in.socket.Close()
	e, err := in.next()
	if _, gone := kernelio.Reap(in.proc.Pid); err == nil {
		err = gone
	}
	if err == nil && e.Unfit != nil {
		err = unfit(*e.Unfit)
	}
	return err
}

// plainSelf is the path of this program, as a copy without the rights that the
// installed file lends: the inner rstr is to have none of them, and the kernel
// lets this process, which has given them up, prepare a user namespace only if
// it is as open to its caller as any other (ptrace(2)).
func (o *options) plainSelf() (path string, done func(), err error) {
	const self = "/proc/self/exe"
	if !o.who.lent {
		return self, func() {}, nil
	}
	from, err := os.Open(self)
	if err != nil {
		return "", nil, err
	}
	defer from.Close()
	to, err := kernelio.Memfd("rstr")
	if err != nil {
		return "", nil, err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", to.Fd()), func() { to.Close() }, kernelio.SetDumpable(1)
}

// ownPIDs is more than the inner rstr has threads and children before it builds
// a tree.
const ownPIDs = 200

// roomFor is the number above which the inner rstr must have its own, if the
// tree has such low ones as it would have.
func roomFor(pids image.PIDs) (int, error) {
	low, high := false, 0
	for _, pid := range pids {
		if pid == 1 {
			return 0, cli.Fail(cli.HostDiffers, "%w", &unfitError{"the tree has PID 1, which is rstr's own in a new PID namespace: only --no-pids has a place for it"})
		}
		low, high = low || pid < ownPIDs, max(high, int(pid))
	}
	if !low {
		high = 0
	}
	return high, nil
}

// namespaces are those that the inner rstr is born in. In a user namespace the
// caller has her own ids, and no others.
func namespaces(own *kernelio.Credentials, user bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if !user {
		return attr
	}
	same := func(id uint32) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: int(id), HostID: int(id), Size: 1}}
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings, attr.GidMappings = same(own.UID.Effective), same(own.GID.Effective)
	attr.AmbientCaps = insideCaps
	return attr
}

func socketpair() (mine, theirs *os.File, err error) {
	a, b, err := kernelio.Socketpair(unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(a.Take()), "inner rstr"), os.NewFile(uintptr(b.Take()), "outer rstr"), nil
}

// next waits for the next event.
func (in *inner) next() (e insideEvent, err error) {
	if err = in.events.Decode(&e); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the init of the tree's PID namespace is gone")
	}
	return e, err
}

// await waits until the tree runs.
func (in *inner) await(b *built) error {
	e, err := in.next()
	if err == nil && e.Again {
		if err = in.hand(); err == nil {
			e, err = in.next()
		}
	}
	switch {
	case err != nil:
		return err
	case e.Unfit != nil:
		kernelio.Reap(in.proc.Pid)
		return unfit(*e.Unfit)
	case e.Failed != nil:
		kernelio.Reap(in.proc.Pid)
		b.failed = *e.Failed
	case e.Runs != nil:
		b.Restored, b.within = restore.Restored{PID: outerPID(in.proc.Pid, e.Runs.PID), Route: restore.Namespace, Tasks: e.Runs.Tasks,
			Threads: e.Runs.Threads, Reserving: e.Runs.Reserving}, e.Runs.PID
	default:
		return fmt.Errorf("the inner rstr says %+v", e)
	}
	return nil
}

// accompany waits for the end of the tree's root, and passes on signals.
func (o *options) accompany(b *built, s *cli.Speaker) (int, error) {
	passOn(b.inner.proc.Pid, nil)
	e, err := b.inner.next()
	if err != nil || e.Ended == nil {
		return 0, errors.Join(err, errors.New("nobody knows how the tree ended"))
	}
	return o.status(b.PID, unix.WaitStatus(*e.Ended), s)
}

// outerPID finds the number here of a child of the inner rstr; 0 if it has
// ended.
func outerPID(init, inside int) int {
	dir, err := kernelio.OpenProc(init)
	if err != nil {
		return 0
	}
	defer dir.Close()
	children, err := dir.Children()
	if err != nil {
		return 0
	}
	for _, pid := range children {
		if dir, err := kernelio.OpenProc(pid); err == nil {
			st, err := dir.Status()
			dir.Close()
			if err == nil && len(st.NSpid) > 0 && int(st.NSpid[len(st.NSpid)-1]) == inside {
				return pid
			}
		}
	}
	return 0
}
