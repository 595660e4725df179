package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type listenRecord struct {
	Socket  socketRecord `cbor:"1,keyasint"`
	Backlog uint32       `cbor:"2,keyasint,omitempty"`
	// Task listens, through its descriptor FD: whoever connects to a unix
	// socket sees who listened (SO_PEERCRED).
	Task kind.TaskRef `cbor:"3,keyasint"`
	FD   int32        `cbor:"4,keyasint"`
	File socketFile   `cbor:"5,keyasint"`
	Peer *ids         `cbor:"6,keyasint,omitempty"` // what SO_PEERCRED shows beside a pid; nil: it is no unix socket
}

// socketFile is the file of a unix socket that is bound to a path.
type socketFile struct {
	Mode  uint32 `cbor:"1,keyasint,omitempty"` // permissions
	Owner *ids   `cbor:"2,keyasint,omitempty"` // nil: there is no file
	Gone  bool   `cbor:"4,keyasint,omitempty"` // it was removed
	// Dir is where the file is if its path is relative: the working
	// directory of the listening task.
	Dir []byte `cbor:"5,keyasint,omitempty"`
}

// ids are a user and a group.
type ids struct {
	UID credmap.UID `cbor:"1,keyasint"`
	GID credmap.GID `cbor:"2,keyasint"`
}

// Listen claims TCP and unix sockets that listen and have nobody waiting. The
// file of a unix socket stays where it is at a dump. At the restore whatever
// socket file is there is replaced if nobody listens at it any more and it
// belongs to the same user.
func Listen() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, listenRecord]{
		Name:   "listen",
		At:     plan.OpenFile,
		Claims: true,
		Match:  isSocket(socketListening),
		Dump:   dumpListen,
		Check:  checkListen,
		Plan:   planListen,
	})
}

func dumpListen(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (r listenRecord, err error) {
	if r.Socket, err = dumpSocket(f); err != nil {
		return r, err
	}
	r.Task, r.FD = kind.TaskRef(f.Task.ID), int32(f.Num)
	var waiting uint32
	if r.Socket.Sort.Domain == unix.AF_UNIX {
		waiting, err = r.dumpUnix(f)
	} else {
		waiting, r.Backlog, err = backlogOf(f)
	}
	if err == nil && waiting > 0 {
		err = &kind.Unsupported{Why: fmt.Sprintf("%d connections wait to be accepted at %v", waiting, r.Socket.Local),
			Hint: "try again when the program has accepted them"}
	}
	return r, err
}

func (r *listenRecord) dumpUnix(f *kind.FileSite) (waiting uint32, err error) {
	u, err := unixFactsOf(f)
	if err != nil {
		return 0, err
	}
	r.Backlog = u.Most
	peer, pid, err := peerCred(f)
	if err != nil {
		return 0, fmt.Errorf("asking who listens: %w", err)
	}
	r.Peer = &peer
	r.listener(f, pid)
	if r.Socket.Local.Abstract || !r.Socket.Local.bound() {
		return u.Waiting, nil
	}
	return u.Waiting, r.dumpFile(f, u)
}

// peerCred is what SO_PEERCRED shows (unix(7)): who listened, or who made a pair.
func peerCred(f *kind.FileSite) (ids, kind.PID, error) {
	b, err := getsockopt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_PEERCRED, 12) // struct ucred
	if err == nil && len(b) < 12 {
		err = fmt.Errorf("SO_PEERCRED of %d bytes", len(b))
	}
	if err != nil {
		return ids{}, 0, err
	}
	le := binary.LittleEndian
	return ids{credmap.UID(le.Uint32(b[4:])), credmap.GID(le.Uint32(b[8:]))}, kind.PID(le.Uint32(b)), nil
}

// listener finds the task that listened, if it still has the socket.
func (r *listenRecord) listener(f *kind.FileSite, pid kind.PID) {
	for _, h := range f.Holders {
		if h.Table.Task.PID == pid {
			r.Task, r.FD = kind.TaskRef(h.Table.Task.ID), int32(h.Num)
			return
		}
	}
}

// dumpFile looks whether the file at the socket's path is the socket's own.
func (r *listenRecord) dumpFile(f *kind.FileSite, u unixFacts) error {
	if fs := f.Task.FS; fs != nil && fs.Root != nil && fs.Root.Path != "/" {
		return kind.Unsupportedf("a socket bound to the path %v of a process with a root directory of its own", r.Socket.Local)
	}
	if !strings.HasPrefix(string(r.Socket.Local.Name), "/") {
		if f.Task.FS == nil || f.Task.FS.Cwd == nil {
			return kind.Unsupportedf("a socket bound to the relative path %v", r.Socket.Local)
		}
		r.File.Dir = []byte(f.Task.FS.Cwd.Path)
		r.Task, r.FD = kind.TaskRef(f.Task.ID), int32(f.Num)
	}
	name := string(r.path())
	res, err := f.Do(plan.Call{Nr: unix.SYS_STATX, Args: []plan.Arg{
		atCwd, plan.Str(name), plan.Int(unix.AT_SYMLINK_NOFOLLOW), plan.Int(unix.STATX_BASIC_STATS), plan.Out(stxBytes)}})
	switch {
	case len(name) > 107: // sizeof sun_path
		return kind.Unsupportedf("a socket bound to a path that is too long from the root on: %+q", name)
	case errors.Is(err, unix.ENOENT) && len(r.File.Dir) > 0:
		return kind.Unsupportedf("a socket bound to the relative path %v, which is not in the working directory", r.Socket.Local)
	case errors.Is(err, unix.ENOENT):
		r.File.Gone = true
		return nil
	case err != nil:
		return fmt.Errorf("looking at %+q: %w", name, err)
	}
	b, le := res.Out[0], binary.LittleEndian
	if uint32(le.Uint64(b[stxIno:])) != u.File || unix.Mkdev(le.Uint32(b[stxDevMajor:]), le.Uint32(b[stxDevMinor:])) != u.Dev {
		return kind.Unsupportedf("a socket bound to %+q, where another file is now", name)
	}
	r.File.Mode = uint32(le.Uint16(b[stxMode:])) & 0o7777
	r.File.Owner = &ids{credmap.UID(le.Uint32(b[stxUID:])), credmap.GID(le.Uint32(b[stxGID:]))}
	return nil
}

// path is where the socket's file is, from the root on.
func (r listenRecord) path() []byte {
	if len(r.File.Dir) == 0 {
		return r.Socket.Local.Name
	}
	return []byte(path.Join(string(r.File.Dir), string(r.Socket.Local.Name)))
}

func checkListen(r listenRecord) error {
	s := r.Socket.Sort
	switch {
	case r.Task == 0, r.FD < 0:
		return errors.New("nobody listens")
	case !s.isTCP() && !(s.isUnix() && s.Type != unix.SOCK_DGRAM):
		return fmt.Errorf("a listening socket of family %d, type %d, protocol %d", s.Domain, s.Type, s.Proto)
	case r.Backlog > 1<<31-1:
		return fmt.Errorf("backlog %d", r.Backlog)
	case (r.Peer != nil) != s.isUnix():
		return errors.New("who listens is a question at unix sockets only")
	case (r.File.Owner != nil) != (s.isUnix() && r.Socket.Local.bound() && !r.Socket.Local.Abstract && !r.File.Gone):
		return errors.New("a socket file without an owner, or the other way round")
	case r.File.Mode&^0o777 != 0:
		return fmt.Errorf("a socket file of mode %#o", r.File.Mode)
	}
	if s.isUnix() && r.Socket.Local.bound() && !r.Socket.Local.Abstract {
		if err := checkPath(r.path()); err != nil {
			return err
		}
		if len(r.File.Dir) > 0 && r.Socket.Local.Name[0] == '/' {
			return errors.New("an absolute path in a directory")
		}
	}
	return r.Socket.check()
}

func planListen(r listenRecord, h *kind.Host) []plan.Step {
	steps := r.Socket.plan(h)
	switch {
	case r.Socket.Sort.isTCP():
		steps = append(steps, r.Socket.bind(h))
	case r.Socket.Local.Abstract:
		steps = append(steps, plan.Step{Stage: plan.Create, Text: fmt.Sprintf("bind it to %v", r.Socket.Local),
			Ops: []plan.Op{bind(plan.FD(h.Self), r.Socket.Local)}})
	case r.Socket.Local.bound():
		steps = append(steps, r.bindPath(h))
	}
	listen := plan.Call{Nr: unix.SYS_LISTEN, Args: []plan.Arg{plan.FD(h.Self), plan.Int(r.Backlog)}, Ret: plan.Exactly(0)}
	step := plan.Step{Stage: plan.Arm, Text: fmt.Sprintf("listen at %v", r.Socket.Local)}
	if r.Socket.Sort.isUnix() {
		listen.In, listen.Args[0] = r.task(), plan.Int(r.FD)
		if step.Needs = r.peerNeeds(h); len(step.Needs) > 0 {
			step.Stage = plan.Seal // by then the task has its own credentials
		}
	}
	if last := &steps[len(steps)-1]; last.Stage == plan.Seal {
		last.Needs, last.Ops = append(last.Needs, step.Needs...), append(last.Ops, listen)
		return steps
	}
	step.Ops = []plan.Op{listen}
	return append(steps, step)
}

func (r listenRecord) task() plan.Ref { return plan.Ref{Site: plan.Task, ID: uint32(r.Task)} }

// byTask says whether the file is the listening task's own, and that is
// somebody else than the caller: the task makes it then, or the tool in its
// credentials, so that the kernel judges whether it may, at whatever the path
// leads to by then.
func (r listenRecord) byTask(h *kind.Host) bool {
	o := r.File.Owner
	return o != nil && *o == *r.Peer && (o.UID != h.Caller.UID.FS || o.GID != h.Caller.GID.FS)
}

// peerNeeds are for a socket that tells those who connect that somebody else
// than the caller listens (SO_PEERCRED, unix(7)).
func (r listenRecord) peerNeeds(h *kind.Host) (n needList) {
	const why = "who connects is told that this one listens"
	n.addIf(r.Peer.UID != h.Caller.UID.Effective, fmt.Sprintf("open-as:%d", r.Peer.UID), why)
	n.addIf(r.Peer.GID != h.Caller.GID.Effective, fmt.Sprintf("gid:%d", r.Peer.GID), why)
	return n
}

// bindPath binds a unix socket to its path, as late as it can: a restore that
// fails before has changed nothing.
func (r listenRecord) bindPath(h *kind.Host) plan.Step {
	at, file := r.path(), slot(h.Self, kind.SlotOther)
	s := plan.Step{Stage: plan.Arm, Text: fmt.Sprintf("bind it to %v", r.Socket.Local)}
	name := bind(plan.FD(h.Self), r.Socket.Local)
	if len(r.File.Dir) > 0 {
		name.In, name.Args[0] = r.task(), plan.Int(r.FD)
		if len(r.peerNeeds(h)) > 0 {
			s.Stage = plan.Seal // by then the task has its own credentials
		}
	}
	name.Undo = []plan.Call{unlink(at)}
	calls := append(r.clearPath(h), name)
	if r.File.Gone {
		s.Ops = asOps(append(calls, unlink(at)))
		return s
	}
	born := owner{0, h.Caller.UID.FS, h.Caller.GID.FS}
	want := owner{r.File.Mode, r.File.Owner.UID, r.File.Owner.GID}
	if r.byTask(h) {
		born.uid, born.gid = want.uid, want.gid
	}
	// What is there may be something else by now: only a socket of whoever made this one, under one name, is given away.
	is := statx(plan.FD(file), wantType(unix.S_IFSOCK), wantOwner(uint32(born.uid)), wantOneName())
	calls = append(calls, openObject(at, 0, file), is)
	if want.uid != h.Caller.UID.FS || want.gid != h.Caller.GID.FS {
		s.Needs = []plan.Need{{Demand: fmt.Sprintf("own:%d:%d", want.uid, want.gid), Why: "the socket's file is somebody else's"}}
	}
	if want.uid != born.uid || want.gid != born.gid {
		calls = append(calls, plan.Call{Nr: unix.SYS_FCHOWNAT, Ret: plan.Exactly(0), Args: []plan.Arg{
			plan.FD(file), plan.Str(""), plan.Int(want.uid), plan.Int(want.gid), plan.Int(unix.AT_EMPTY_PATH)}})
	}
	calls = append(calls, plan.Call{Nr: unix.SYS_FCHMODAT, Ret: plan.Exactly(0), Args: []plan.Arg{
		atCwd, plan.FDPath(file), plan.Int(r.File.Mode)}})
	if r.byTask(h) {
		wornBy(r.task(), calls)
	}
	s.Ops = asOps(calls)
	return s
}

// wornBy has the tool make calls, and undo them, in the credentials of a task.
func wornBy(task plan.Ref, calls []plan.Call) {
	for i := range calls {
		if calls[i].In.IsZero() {
			calls[i].As = task
		}
		wornBy(task, calls[i].Undo)
	}
}

// clearPath removes the socket file that the dump left: a socket of the same
// user's at which nobody listens. What else is there stays, and bind(2) fails.
func (r listenRecord) clearPath(h *kind.Host) []plan.Call {
	at, le := r.path(), binary.LittleEndian
	// If there is nothing, the buffer stays as it is demanded to be.
	want := make([]byte, stxBytes)
	if r.File.Owner != nil {
		le.PutUint32(want[stxUID:], uint32(r.File.Owner.UID))
	}
	le.PutUint16(want[stxMode:], unix.S_IFSOCK)
	look := plan.Call{
		Nr: unix.SYS_STATX, Ret: plan.Ret{Exact: true, Tolerate: []uint16{uint16(unix.ENOENT)}},
		Args: []plan.Arg{atCwd, plan.Str(string(at)), plan.Int(unix.AT_SYMLINK_NOFOLLOW),
			plan.Int(unix.STATX_BASIC_STATS), plan.InOut(want)},
		Expect: []plan.Field{wantType(unix.S_IFSOCK),
			{Off: stxUID, Want: want[stxUID:stxGID], Name: "owner", Form: plan.Number}},
	}
	probe, addr := slot(h.Self, kind.SlotOther+1), sockAddr{Name: at}.encode()
	create := plan.Call{Nr: unix.SYS_SOCKET, Out: probe, Args: []plan.Arg{plan.Int(unix.AF_UNIX),
		plan.Int(r.Socket.Sort.Type | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK), plan.Int(0)}}
	dead := plan.Call{ // anything but a refusal means that somebody is there
		Nr: unix.SYS_CONNECT, Args: []plan.Arg{plan.FD(probe), plan.Buf(addr), plan.Int(len(addr))},
		Ret: plan.Ret{Exact: true, Want: -int64(unix.ECONNREFUSED), Tolerate: []uint16{uint16(unix.ECONNREFUSED), uint16(unix.ENOENT)}},
	}
	clear := unlink(at)
	if o := r.File.Owner; o != nil && (o.UID == h.Caller.UID.FS && o.GID == h.Caller.GID.FS || r.byTask(h)) {
		clear.Undo = []plan.Call{deadFile(at, r.File.Mode)}
	}
	return []plan.Call{look, create, dead, clear}
}

// deadFile puts a socket file back at which nobody listens. Its permissions are
// as far as the umask lets them: whatever the path leads to after that may be
// another file.
func deadFile(path []byte, mode uint32) plan.Call {
	return plan.Call{Nr: unix.SYS_MKNODAT, Args: []plan.Arg{atCwd, plan.Str(string(path)), plan.Int(unix.S_IFSOCK | mode), plan.Int(0)}}
}

func unlink(path []byte) plan.Call {
	return plan.Call{Nr: unix.SYS_UNLINKAT, Args: []plan.Arg{atCwd, plan.Str(string(path)), plan.Int(0)},
		Ret: plan.Ret{Exact: true, Tolerate: []uint16{uint16(unix.ENOENT)}}}
}
