package restore

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// The one thing that a restore makes before its commit and that outlives its
// processes is the file of a unix socket. If rstr is killed, nobody is left who
// could take it away, so there is an heir: a process of one page of code
// (inject.Stub.Bequeath) that holds the sockets too and waits for the end of
// rstr. Unless the tree has been let go by then it looks, for each path, whether
// what is sent there arrives at the socket, and if so removes it; and it puts
// the file of a dead socket back that was there before. It is rstr's child, with
// the caller's credentials and none else, and is killed when the tree runs.
type heir struct {
	stub *inject.Stub
	pipe *kernelio.FD
}

// bequeath starts the heir, if the plan leaves any files.
func (s *session) bequeath() error {
	left, err := s.legacy()
	if err != nil || len(left.sockets) == 0 {
		return err
	}
	defer left.close()
	r, w, err := kernelio.Pipe(0)
	if err != nil {
		return err
	}
	defer r.Close()
	s.heir = &heir{pipe: w}
	files := []int{r.Int()}
	for _, x := range left.sockets {
		files = append(files, x.fd)
	}
	for _, b := range left.binders {
		files = append(files, b.Int())
	}
	s.heir.stub, err = s.tracer.NewStub(inject.StubOptions{Base: stubFirst, Size: heirRoom, Files: files, Barrier: s.barrier,
		NonDumpable: s.opts.Elevated, First: settleHeir})
	if err != nil {
		return err
	}
	if err := s.humbleHeir(); err != nil {
		return err
	}
	return s.heir.stub.Bequeath(left.program())
}

// heirRoom is the memory for what the heir is to do.
const heirRoom = 1 << 20

// settleHeir has the heir leave rstr's session, whose end is not to be its own,
// and stand where a path that is not absolute leads to nothing.
func settleHeir(p *inject.Program) {
	p.Call(unix.SYS_SETSID)
	p.Call(unix.SYS_PRCTL, inject.N(unix.PR_SET_NAME), p.Buf([]byte("rstr heir\x00")).Ptr(0))
	p.Call(unix.SYS_CHDIR, p.Buf([]byte("/proc/self/fdinfo\x00")).Ptr(0))
}

// humbleHeir makes it the caller's in an elevated restore.
func (s *session) humbleHeir() error {
	if !s.opts.Elevated {
		return nil
	}
	p := s.emptyProgram(s.newNames(nil))
	for _, c := range become(s.opts.Caller.Creds) {
		if err := p.Add(c, nil); err != nil {
			return err
		}
	}
	return s.heir.stub.Space.Run(s.heir.stub.Thread, p.Inject)
}

// dismiss ends the heir, when there is nothing to be inherited any more.
func (s *session) dismiss() {
	if s.heir == nil {
		return
	}
	if s.heir.stub != nil {
		kill(s.heir.stub)
	}
	s.heir.pipe.Close()
	s.heir = nil
}

// legacy is what a killed restore would leave.
type legacy struct {
	sockets []left
	binders []*kernelio.FD // processes of the tree that bind some of them, while there are any
	dead    [][]byte       // paths where a dead socket's file is now
	modes   []uint64
}

// left is a socket that is to be bound to a path.
type left struct {
	fd   int
	path []byte
}

func (s *session) legacy() (*legacy, error) {
	var l legacy
	for _, st := range slices.Concat(s.at(plan.Arm), s.at(plan.Seal)) {
		for _, op := range st.Ops {
			c, ok := op.(plan.Call)
			if !ok || !l.note(c, int(s.made[st.ref])) || c.In.IsZero() {
				continue
			}
			b, _, err := s.actor(c.In)
			if err != nil {
				return &l, err
			}
			pidfd, err := kernelio.PidfdOpen(b.leader.PID())
			if err != nil {
				return &l, err
			}
			l.binders = append(l.binders, pidfd)
		}
	}
	return &l, nil
}

func (l *legacy) close() {
	for _, b := range l.binders {
		b.Close()
	}
}

// note looks at a call whose undoing takes a file away, and says so, or puts
// one back.
func (l *legacy) note(c plan.Call, fd int) (binds bool) {
	if len(c.Undo) == 0 {
		return false
	}
	u := c.Undo[0]
	path := u.Args[1].Buf
	switch {
	case c.Nr == unix.SYS_BIND && u.Nr == unix.SYS_UNLINKAT:
		l.sockets = append(l.sockets, left{fd, path})
		return true
	case u.Nr == unix.SYS_MKNODAT && isSocketFile(string(bytes.TrimRight(path, "\x00"))):
		l.dead, l.modes = append(l.dead, path), append(l.modes, u.Args[2].Val)
	}
	return false
}

func isSocketFile(path string) (is bool) {
	aside(func() error {
		st, err := kernelio.StatAt(unix.AT_FDCWD, path)
		is = err == nil && st.Type() == unix.S_IFSOCK
		return nil
	})
	return is
}

// program is what the heir does. The tree dies after rstr: until then its
// processes may bind a socket still.
func (l *legacy) program() *inject.Program {
	w := will{inject.NewProgram()}
	for i := range l.binders {
		fd := binary.LittleEndian.AppendUint32(nil, uint32(1+len(l.sockets)+i))
		w.call(unix.SYS_POLL, w.Buf(append(fd, unix.POLLIN, 0, 0, 0)).Ptr(0), inject.N(1), inject.N(deathTime.Milliseconds()))
	}
	for i, x := range l.sockets {
		w.takeAway(inject.N(i+1), x.path) // the pipe is 0
	}
	for i, path := range l.dead {
		w.call(unix.SYS_MKNOD, w.Buf(path).Ptr(0), inject.N(l.modes[i]), inject.N(0))
	}
	return w.Program
}

// deathTime is more than the tree takes to die.
const deathTime = 10 * time.Second

// will is a program of which each call is made whatever became of those before.
type will struct{ *inject.Program }

func (w will) call(nr uintptr, args ...inject.Arg) inject.Arg {
	h := w.Call(nr, args...)
	w.Tolerate(h)
	return h.Result()
}

// takeAway unlinks a path that leads to the socket. The path lacks its first
// byte until that has come by the socket.
func (w will) takeAway(fd inject.Arg, path []byte) {
	w.call(unix.SYS_FCNTL, fd, inject.N(unix.F_SETFL), inject.N(unix.O_NONBLOCK))
	w.call(unix.SYS_LISTEN, fd, inject.N(knocks))
	name := w.Buf(append([]byte{'?'}, path[1:]...))
	for _, sort := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		probe := w.call(unix.SYS_SOCKET, inject.N(unix.AF_UNIX), inject.N(sort|unix.SOCK_NONBLOCK), inject.N(0))
		w.call(unix.SYS_CONNECT, probe, w.Buf(unixAddress(path)).Ptr(0), inject.N(2+len(path)))
		w.call(unix.SYS_WRITE, probe, w.Buf([]byte("/")).Ptr(0), inject.N(1))
	}
	for range knocks {
		in := w.call(unix.SYS_ACCEPT4, fd, inject.N(0), inject.N(0), inject.N(unix.SOCK_NONBLOCK))
		w.call(unix.SYS_READ, in, name.Ptr(0), inject.N(1))
	}
	w.call(unix.SYS_UNLINK, name.Ptr(0))
}

// knocks is how many connections the heir looks at for the one that it made:
// others may have come before.
const knocks = 32

// unixAddress is a struct sockaddr_un (unix(7)) with a path that ends in a
// zero.
func unixAddress(path []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, unix.AF_UNIX), path...)
}
