package restore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// found is a file that the tree needs of this host: where it was looked for,
// whether the caller may read and write it, and what is wrong with it.
type found struct {
	path              string // where it is: not by which links it was reached
	dev, ino          uint64
	owner             uint32
	read, write, exec bool
	hidden            bool // she may not even reach it
	err               error
}

// lookAs looks for the files with the caller's own rights: rstr, where it has
// more, must not tell her what she could not find out.
func (p *prospect) lookAs(caller *kind.Caller) error {
	look := func() error {
		p.files = p.look(p.steps)
		return nil
	}
	if caller.Creds.Equal(caller.Born.Creds) {
		return look()
	}
	return kernelio.WithCredentials(credentials(&caller.Creds), look)
}

func credentials(c *kind.Creds) kernelio.Credentials {
	out := kernelio.Credentials{
		UID:         abi.IDs{Real: uint32(c.UID.Real), Effective: uint32(c.UID.Effective), Saved: uint32(c.UID.Saved), FS: uint32(c.UID.FS)},
		GID:         abi.IDs{Real: uint32(c.GID.Real), Effective: uint32(c.GID.Effective), Saved: uint32(c.GID.Saved), FS: uint32(c.GID.FS)},
		Inheritable: abi.CapSet(c.Caps.Inheritable), Permitted: abi.CapSet(c.Caps.Permitted), Effective: abi.CapSet(c.Caps.Effective),
		Bounding: abi.CapSet(c.Caps.Bounding), Ambient: abi.CapSet(c.Caps.Ambient), NoNewPrivs: c.NoNewPrivs,
	}
	for _, g := range c.Groups {
		out.Groups = append(out.Groups, uint32(g))
	}
	return out
}

// look finds, before anything is made, the files that a plan will open: those
// steps that open a path with O_PATH, which opens nothing, for an object. What they expect of the file is held
// against it, and the caller's right to it is asked for by her real ids, so
// that a set-id rstr tells nobody of files that she can't reach (access(2)).
// The result is by object, as demands name it.
func (c *content) look(steps []step) map[string]*found {
	out := map[string]*found{}
	for i := range steps {
		st := &steps[i]
		for j := range st.Ops {
			if path, ok := finds(st.Ops[j]); ok {
				if name := st.Ops[j].(plan.Call).Out.String(); out[name] == nil {
					out[name] = st.find(path, st.Ops[j:], c.digestOf(name))
				}
				break
			}
		}
	}
	return out
}

// finds says whether an operation makes an object of what lies at a path,
// rather than a new file without a name (O_TMPFILE).
func finds(op plan.Op) (path string, ok bool) {
	c, isCall := op.(plan.Call)
	if !isCall || c.Nr != unix.SYS_OPENAT || !c.In.IsZero() || c.Out.Site != plan.Inode || c.Out.Slot != 0 || len(c.Args) < 3 {
		return "", false
	}
	if c.Args[1].Kind != plan.ArgBuf || len(c.Args[1].Relocs) > 0 || c.Args[2].Val&unix.O_TMPFILE == unix.O_TMPFILE {
		return "", false
	}
	path = string(bytes.TrimRight(c.Args[1].Buf, "\x00"))
	return path, !strings.HasPrefix(path, ownMappings)
}

// ownMappings are the links to what is mapped into rstr itself: to what it has
// just made.
const ownMappings = "/proc/self/map_files/"

// find carries out the opening and the look at the file that follow. What
// lies in /proc belongs to the tree, perhaps, which is not there yet. An
// opening without O_PATH may do something by itself, and is not made.
func (st *step) find(path string, ops []plan.Op, digest []byte) *found {
	f := &found{path: path}
	open := ops[0].(plan.Call)
	if _, _, ours := st.of.procOf([]byte(path)); ours && st.of.lowly { // the kernel judges when it is there
		f.read, f.write = true, true
		return f
	}
	if namesTree(open.Args) || open.Args[2].Kind != plan.ArgInt || open.Args[2].Val&unix.O_PATH == 0 {
		f.ask(unix.AT_FDCWD, path)
		return f
	}
	n := justFound{}
	r, err := calls.Tool(open, n)
	if errors.Is(err, unix.EACCES) {
		f.hidden = true
		return f
	}
	if err != nil {
		f.err = st.notFound(err)
		return f
	}
	fd := kernelio.NewFD(int(r.Ret), path)
	defer fd.Close()
	n[open.Out] = fd.Int()
	if err := f.place(fd.Int()); err != nil {
		f.err = st.failed(err)
		return f
	}
	for _, op := range ops[1:] {
		if c, ok := op.(plan.Call); ok && (c.Nr == unix.SYS_STATX || c.Nr == unix.SYS_READLINKAT) && n.hasAll(c.Args) {
			if _, err := calls.Tool(c, n); err != nil {
				f.err = st.failed(err)
			}
		}
	}
	if f.ask(fd.Int(), ""); f.err == nil && f.read {
		if err := holds(fd.Int(), digest); err != nil {
			f.err = st.failed(err)
		}
	}
	return f
}

// place finds out which file a descriptor leads to. A link on the way to it, or
// in the place of a directory, makes another path of it: a grant for a tree of
// files must not be one for what links in that tree lead to.
func (f *found) place(fd int) error {
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	st, err := kernelio.Fstat(fd)
	f.path, f.dev, f.ino, f.owner = link, st.Dev, st.Ino, st.UID
	return err
}

// same refuses another file than the one that was looked at and judged.
func (f *found) same(fd int) error {
	now := found{}
	if err := now.place(fd); err != nil {
		return err
	}
	if now.path != f.path || now.dev != f.dev || now.ino != f.ino {
		return &HostError{fmt.Sprintf("%+q was exchanged for %+q meanwhile", f.path, now.path)}
	}
	return nil
}

// ask asks which modes of a file are the caller's.
func (f *found) ask(dirfd int, path string) {
	may := func(mode int) bool { return kernelio.Access(dirfd, path, mode) == nil }
	f.read, f.write, f.exec = may(unix.R_OK), may(unix.W_OK), may(unix.X_OK)
}

// notFound is a fault of the host's if there is no such file.
func (st *step) notFound(err error) error {
	err = st.failed(err)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return &HostError{err.Error()}
	}
	return err
}

// justFound names the one descriptor that a look at a file has.
type justFound map[plan.Ref]int

func (n justFound) FD(r plan.Ref) (int, error) {
	fd, ok := n[r]
	if !ok {
		return 0, fmt.Errorf("%s has not been looked for", r)
	}
	return fd, nil
}

func (n justFound) Result(r plan.Ref) (int64, error) {
	fd, err := n.FD(r)
	return int64(fd), err
}

func (n justFound) PID(int32) (int, error) { return 0, errors.New("no process is there yet") }

func (n justFound) hasAll(args []plan.Arg) bool {
	for _, a := range args {
		if _, ok := n[a.Ref]; !ok && (a.Kind == plan.ArgFD || a.Kind == plan.ArgFDPath || a.Kind == plan.ArgResult) {
			return false
		}
	}
	return true
}
