package kinds

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// world is a tree of one process, the test itself, with the least of both
// engines that plans of open files need. What a task would execute, the test
// executes: its descriptors have their final numbers already, so the records
// must name numbers at which the test put the same objects.
type world struct {
	t      *testing.T
	task   *kind.TaskSite
	files  []*kind.FileSite
	inodes map[uint64]*kind.InodeSite
	fds    map[plan.Ref]int
	values map[plan.Ref]int64
	blobs  [][]byte
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, inodes: map[uint64]*kind.InodeSite{}, fds: map[plan.Ref]int{}, values: map[plan.Ref]int64{}}
	pid := kind.PID(os.Getpid())
	w.task = &kind.TaskSite{ID: 1, PID: pid, Comm: "test", Proc: selfProc{}, FDTable: &kind.FDTableSite{ID: 1}}
	w.task.FDTable.Task = w.task
	w.task.FDTable.Do = w.do
	w.task.Do = w.do
	w.task.Threads = []*kind.ThreadSite{{ID: 1, TID: pid, Task: w.task, Leader: true}}
	return w
}

type selfProc struct{}

func (selfProc) Read(name string) ([]byte, error) { return os.ReadFile("/proc/self/" + name) }
func (selfProc) Link(name string) (string, error) { return os.Readlink("/proc/self/" + name) }

// add makes the site of a descriptor of the test.
func (w *world) add(fd int) *kind.FileSite {
	w.t.Helper()
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := abi.ParseFDInfo(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(info.Unknown) > 0 {
		w.t.Errorf("lines of fdinfo that no kind accounts for: %q", info.Unknown)
	}
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		w.t.Fatal(err)
	}
	f := &kind.FileSite{ID: uint32(len(w.files) + 1), Task: w.task, Num: fd, Link: link, Info: info, Stat: statOf(w.t, fd), Do: w.do}
	f.Holders = []kind.Holder{{Table: w.task.FDTable, Num: fd}}
	w.task.FDTable.FDs = append(w.task.FDTable.FDs, kind.FDNode{Num: int32(fd), File: f.Ref(), CloExec: info.Flags&unix.O_CLOEXEC != 0})
	w.files = append(w.files, f)
	w.fds[f.Ref().Main()] = fd
	if f.Stat.Format() != 0 && f.Stat.Format() != unix.S_IFSOCK {
		w.inode(f, link)
	}
	return f
}

func (w *world) inode(f *kind.FileSite, path string) {
	i := w.inodes[f.Stat.Ino]
	if i == nil {
		i = &kind.InodeSite{ID: uint32(len(w.inodes) + 1), Task: w.task, Path: path, Stat: f.Stat, Do: w.do}
		w.inodes[f.Stat.Ino] = i
		w.fds[i.Ref().Main()] = f.Num
	}
	i.Files = append(i.Files, f)
	f.Inode = i
}

func statOf(t *testing.T, fd int) kind.Stat {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstatfs(fd, &fs); err != nil {
		t.Fatal(err)
	}
	return kind.Stat{Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: st.Nlink, UID: credmap.UID(st.Uid), GID: credmap.GID(st.Gid),
		Size: st.Size, Rdev: st.Rdev, FSType: uint32(fs.Type)}
}

// File, EpollTarget, InTree, Content and Blob are what a kind asks of a dump.
func (w *world) File(_ *kind.TaskSite, num int) kind.FileRef {
	for _, fd := range w.task.FDTable.FDs {
		if int(fd.Num) == num {
			return fd.File
		}
	}
	return 0
}

func (w *world) EpollTarget(ep *kind.FileSite, num int, offset uint32) kind.FileRef {
	slot := [3]uint32{uint32(ep.Num), uint32(num), offset}
	for _, f := range w.files {
		pid := uintptr(os.Getpid())
		r, _, _ := unix.Syscall6(unix.SYS_KCMP, pid, pid, 7, uintptr(f.Num), uintptr(unsafe.Pointer(&slot)), 0)
		if r == 0 {
			return f.Ref()
		}
	}
	return 0
}

func (w *world) InTree(pid kind.PID) bool { return int(pid) == os.Getpid() }

func (w *world) Content(*kind.InodeSite) (kind.BlobRef, error) { return 0, unix.ENOSYS }

func (w *world) Blob(src io.ReaderAt, extents []image.Extent) (kind.BlobRef, error) {
	var all []byte
	for _, e := range extents {
		b := make([]byte, e.Len)
		if _, err := src.ReadAt(b, int64(e.Off)); err != nil && err != io.EOF {
			return 0, err
		}
		all = append(all, b...)
	}
	w.blobs = append(w.blobs, all)
	return kind.BlobRef(len(w.blobs)), nil
}

func (w *world) Socket(ino uint64) *kind.FileSite {
	for _, f := range w.files {
		if f.Stat.Format() == unix.S_IFSOCK && f.Stat.Ino == ino {
			return f
		}
	}
	return nil
}

// claimer is the one kind of this package that claims the site.
func claimer(t *testing.T, at plan.Site, site any) kind.Kind {
	t.Helper()
	var found kind.Kind
	for _, k := range All().Of(at) {
		if !k.Claims() || !k.Match(site) {
			continue
		}
		if found != nil {
			t.Fatalf("both %s and %s claim it", found.Name(), k.Name())
		}
		found = k
	}
	if found == nil {
		t.Fatal("no kind claims it")
	}
	return found
}

// record dumps a site and reads the record back as a restore does.
func (w *world) record(k kind.Kind, site any) any {
	w.t.Helper()
	body, err := k.Dump(w, site, nil)
	if err != nil {
		w.t.Fatalf("%s: dump: %v", k.Name(), err)
	}
	r, err := k.Decode(k.Version(), body)
	if err != nil {
		w.t.Fatalf("%s: decode: %v", k.Name(), err)
	}
	return r
}

// planned is a plan of one object, with the object's own name for it.
type planned struct {
	kind  kind.Kind
	steps []plan.Step
}

// restore makes the objects again: all plans, stage by stage, in the order
// in which they are given. Results have new names, from object 1000 on, and
// the records' references are to the old ones: so the plans are made with the
// same names, and the old descriptors are forgotten first.
func (w *world) restore(objects ...any) {
	w.t.Helper()
	var plans []planned
	for _, o := range objects {
		at, id := plan.OpenFile, uint32(0)
		switch s := o.(type) {
		case *kind.FileSite:
			id = s.ID
		case *kind.InodeSite:
			at, id = plan.Inode, s.ID
		}
		k := claimer(w.t, at, o)
		h := &kind.Host{Self: plan.Ref{Site: at, ID: id}, InTree: w.InTree}
		plans = append(plans, planned{k, k.Plan(w.record(k, o), h)})
	}
	w.fds = map[plan.Ref]int{}
	for stage := plan.Tree; stage <= plan.Seal; stage++ {
		for _, p := range plans {
			w.run(p, stage)
		}
	}
}

func (w *world) run(p planned, stage plan.Stage) {
	w.t.Helper()
	for _, s := range p.steps {
		if s.Stage != stage {
			continue
		}
		for _, op := range s.Ops {
			if err := w.op(op); err != nil {
				w.t.Fatalf("%s: %s: %v", p.kind.Name(), s.Text, err)
			}
		}
	}
}

func (w *world) op(op plan.Op) error {
	switch op := op.(type) {
	case plan.Move:
		n, err := unix.Write(w.fd(op.Into), w.blobs[op.Blob-1])
		if err == nil && n != len(w.blobs[op.Blob-1]) {
			err = io.ErrShortWrite
		}
		return err
	case plan.Call:
		r, err := w.do(op)
		if err == nil && !op.Out.IsZero() {
			w.fds[op.Out], w.values[op.Out] = int(r.Ret), r.Ret
		}
		return err
	}
	return fmt.Errorf("an operation %T", op)
}

func (w *world) fd(r plan.Ref) int {
	w.t.Helper()
	fd, ok := w.fds[r]
	if !ok {
		w.t.Fatalf("no descriptor of %v", r)
	}
	return fd
}

// do executes a call in the test.
func (w *world) do(c plan.Call) (plan.Result, error) {
	w.t.Helper()
	var pin runtime.Pinner
	defer pin.Unpin()
	var a [6]uintptr
	var res plan.Result
	bufs := make([][]byte, len(c.Args))
	for i, arg := range c.Args {
		a[i], bufs[i] = w.arg(arg, &pin)
		if arg.Kind == plan.ArgOut {
			res.Out = append(res.Out, bufs[i])
		}
	}
	r, _, e := unix.Syscall6(c.Nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if res.Ret = int64(r); e != 0 {
		res.Ret = -int64(e)
		for _, ok := range c.Ret.Tolerate {
			if unix.Errno(ok) == e {
				return res, nil
			}
		}
		return res, e
	}
	if c.Ret.Exact && res.Ret != c.Ret.Want {
		return res, fmt.Errorf("returned %d instead of %d", res.Ret, c.Ret.Want)
	}
	if err := plan.Compare(c.Expect, res.Out); err != nil {
		return res, err
	}
	for i, arg := range c.Args {
		for name, off := range arg.Made {
			n := binary.LittleEndian.Uint32(bufs[i][off:])
			w.fds[name], w.values[name] = int(n), int64(n)
		}
	}
	return res, nil
}

func (w *world) arg(a plan.Arg, pin *runtime.Pinner) (uintptr, []byte) {
	w.t.Helper()
	switch a.Kind {
	case plan.ArgInt, plan.ArgPID:
		return uintptr(a.Val), nil
	case plan.ArgFD:
		return uintptr(w.fd(a.Ref)), nil
	case plan.ArgResult:
		return uintptr(w.values[a.Ref]), nil
	case plan.ArgFDPath:
		return w.pinned(fmt.Appendf(nil, "/proc/self/fd/%d\x00", w.fd(a.Ref)), pin)
	case plan.ArgBuf, plan.ArgOut:
		b := append([]byte(nil), a.Buf...)
		for _, r := range a.Relocs {
			w.reloc(b, r, pin)
		}
		return w.pinned(b, pin)
	}
	w.t.Fatalf("argument form %d", a.Kind)
	return 0, nil
}

func (w *world) reloc(b []byte, r plan.Reloc, pin *runtime.Pinner) {
	switch r.Arg.Kind {
	case plan.ArgMade:
	case plan.ArgNow:
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(r.Arg.Val), &ts); err != nil {
			w.t.Fatal(err)
		}
		at := ts.Nano() + r.Arg.Delta
		binary.LittleEndian.PutUint64(b[r.Off:], uint64(at/1e9))
		binary.LittleEndian.PutUint64(b[r.Off+8:], uint64(at%1e9))
	default:
		v, _ := w.arg(r.Arg, pin)
		for i := range r.Size {
			b[r.Off+i] = byte(v >> (8 * i))
		}
	}
}

func (w *world) pinned(b []byte, pin *runtime.Pinner) (uintptr, []byte) {
	if len(b) == 0 {
		return 0, nil
	}
	pin.Pin(&b[0])
	return uintptr(unsafe.Pointer(&b[0])), b
}

// same compares what fdinfo says of a description and of the one that was
// made from its record, but for what names the object itself.
func (w *world) same(f *kind.FileSite) {
	w.t.Helper()
	again := *infoOf(w.t, w.fd(f.Ref().Main()))
	want := *f.Info
	for _, i := range []*abi.FDInfo{&again, &want} {
		i.Ino, i.Flags = 0, i.Flags&^unix.O_CLOEXEC
		if i.Eventfd != nil {
			i.Eventfd.ID = 0
		}
	}
	if !reflect.DeepEqual(want, again) {
		w.t.Errorf("restored as\n%+v\nwas\n%+v", again, want)
	}
}

func infoOf(t *testing.T, fd int) *abi.FDInfo {
	t.Helper()
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	info, err := abi.ParseFDInfo(text)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// must fails the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused says why a kind can't save a site.
func (w *world) refused(site any) string {
	w.t.Helper()
	at := plan.OpenFile
	if _, ok := site.(*kind.InodeSite); ok {
		at = plan.Inode
	}
	_, err := claimer(w.t, at, site).Dump(w, site, nil)
	if u, ok := err.(*kind.Unsupported); ok {
		return u.Why
	}
	w.t.Fatalf("not refused: %v", err)
	return ""
}
