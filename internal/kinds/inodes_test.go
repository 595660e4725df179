package kinds

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// holder is a world that stores the contents of inodes.
type holder struct {
	*world
	fd int
}

func (h holder) Content(i *kind.InodeSite) (kind.BlobRef, error) {
	return h.Blob(io.NewSectionReader(fdReader(h.fd), 0, i.Stat.Size), []image.Extent{{Off: 0, Len: uint64(i.Stat.Size)}})
}

type fdReader int

func (f fdReader) ReadAt(b []byte, off int64) (int, error) { return unix.Pread(int(f), b, off) }

// remake saves the inode of a descriptor and makes it again; the new
// descriptor is closed with the test.
func remake(t *testing.T, fd int, k kind.Kind) (record any, again int) {
	t.Helper()
	w, i := fileIn(t, fd)
	if got := claimer(t, plan.Inode, i); got.Name() != k.Name() {
		t.Fatalf("%+q is claimed by %s", i.Path, got.Name())
	}
	body, err := k.Dump(holder{w, fd}, i, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.Decode(k.Version(), body)
	if err != nil {
		t.Fatal(err)
	}
	h := &kind.Host{Self: i.Ref().Main()}
	h.Caller.UID.FS, h.Caller.GID.FS = i.Stat.UID, i.Stat.GID
	again = run(t, w, k, r, h)
	return r, again
}

func run(t *testing.T, w *world, k kind.Kind, r any, h *kind.Host) int {
	t.Helper()
	w.fds = map[plan.Ref]int{}
	for stage := plan.Tree; stage <= plan.Seal; stage++ {
		w.run(planned{k, k.Plan(r, h)}, stage)
	}
	fd := w.fds[h.Self]
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestGhost(t *testing.T) {
	dir := t.TempDir()
	fd := openFor(t, dir+"/gone", unix.O_RDWR|unix.O_CREAT)
	text := bytes.Repeat([]byte("ghost"), 3000)
	must(unix.Write(fd, text))(t)
	if err := unix.Fchmod(fd, 0o450); err != nil {
		t.Fatal(err)
	}
	os.Remove(dir + "/gone")
	_, again := remake(t, fd, Ghost())
	was, is := statOf(t, fd), statOf(t, again)
	if is.Size != was.Size || is.Mode != was.Mode || is.Nlink != 0 || is.Dev != was.Dev || is.Ino == was.Ino {
		t.Errorf("made again as %+v, was %+v", is, was)
	}
	got := make([]byte, len(text)+1)
	if n, err := unix.Pread(again, got, 0); err != nil || !bytes.Equal(got[:n], text) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGhostWithoutDirectory(t *testing.T) {
	dir := t.TempDir() + "/sub"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fd := openFor(t, dir+"/gone", unix.O_RDWR|unix.O_CREAT)
	must(unix.Write(fd, []byte("text")))(t)
	os.RemoveAll(dir)
	_, again := remake(t, fd, Ghost())
	got := make([]byte, 8)
	if n, err := unix.Pread(again, got, 0); err != nil || string(got[:n]) != "text" {
		t.Errorf("%q, %v", got[:n], err)
	}
	if is := statOf(t, again); is.Mode != statOf(t, fd).Mode {
		t.Errorf("mode %#o", is.Mode)
	}
}

func TestGhostOfAnotherOwner(t *testing.T) {
	r := ghostRecord{Dir: []byte("/tmp"), Name: []byte("x"), Size: 5, Mode: 0o640, UID: 7, GID: 8, Content: 2}
	wantPlan(t, showSteps(Ghost().Plan(&r, &kind.Host{Self: plan.Ref{Site: plan.Inode, ID: 4}})),
		"create: openat@tool(-100,2f746d7000,4784130,384)->inode 4 ftruncate@tool({inode 4},5)=0 fchmod@tool({inode 4},416)=0",
		"fill: move blob 2 into inode 4",
		"settle: !own:7:8 fchown@tool({inode 4},7,8)=0")
}

func TestGhostWithSetIDIsRefused(t *testing.T) {
	fd := openFor(t, t.TempDir()+"/f", unix.O_RDWR|unix.O_CREAT)
	if err := unix.Fchmod(fd, 0o4755); err != nil {
		t.Fatal(err)
	}
	w, i := fileIn(t, fd)
	i.Deleted = true
	if why := w.refused(i); !strings.Contains(why, "set-id") {
		t.Error(why)
	}
	checks(t, Ghost(), nil, map[string]ghostRecord{
		"set-user-id": {Dir: []byte("/tmp"), Name: []byte("x"), Mode: 0o4755},
		"sticky":      {Dir: []byte("/tmp"), Name: []byte("x"), Mode: 0o1755},
		"no name":     {Dir: []byte("/tmp")},
		"a way out":   {Dir: []byte("/tmp/../etc"), Name: []byte("x")},
		"relative":    {Dir: []byte("tmp"), Name: []byte("x")},
		"contents":    {Dir: []byte("/tmp"), Name: []byte("x"), Content: 1},
	})
}

func TestMemfd(t *testing.T) {
	for name, c := range map[string]struct {
		flags, seals int
		mode         uint32
	}{
		"plain":        {unix.MFD_CLOEXEC, unix.F_SEAL_SEAL, 0o777},
		"sealable":     {unix.MFD_ALLOW_SEALING, 0, 0o777},
		"sealed":       {unix.MFD_ALLOW_SEALING, unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL, 0o777},
		"future write": {unix.MFD_ALLOW_SEALING, unix.F_SEAL_FUTURE_WRITE, 0o700},
		"no exec":      {unix.MFD_NOEXEC_SEAL, unix.F_SEAL_EXEC, 0o666},
	} {
		t.Run(name, func(t *testing.T) {
			fd := must(unix.MemfdCreate("a name", c.flags))(t)
			defer unix.Close(fd)
			must(unix.Write(fd, []byte("contents")))(t)
			if err := unix.Fchmod(fd, c.mode); err != nil {
				t.Fatal(err)
			}
			if c.flags&unix.MFD_ALLOW_SEALING != 0 {
				must(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, c.seals))(t)
			}
			_, again := remake(t, fd, Memfd())
			if seals := must(unix.FcntlInt(uintptr(again), unix.F_GET_SEALS, 0))(t); seals != c.seals {
				t.Errorf("seals %#x, want %#x", seals, c.seals)
			}
			if is := statOf(t, again); is.Mode&0o7777 != c.mode || is.Size != 8 {
				t.Errorf("%+v", is)
			}
			got := make([]byte, 9)
			if n, err := unix.Pread(again, got, 0); err != nil || string(got[:n]) != "contents" {
				t.Errorf("%q, %v", got[:n], err)
			}
			if link := must(os.Readlink("/proc/self/fd/" + itoa(again)))(t); link != "/memfd:a name (deleted)" {
				t.Error(link)
			}
		})
	}
}

func TestMemfdCheck(t *testing.T) {
	checks(t, Memfd(), []memfdRecord{{}, {Name: []byte(strings.Repeat("n", 249)), Size: 1, Content: 1, Mode: 0o777, Seals: allSeals}},
		map[string]memfdRecord{
			"a long name": {Name: []byte(strings.Repeat("n", 250))},
			"a NUL":       {Name: []byte("a\x00b")},
			"set-id":      {Mode: 0o2777},
			"seals":       {Seals: 0x40},
			"contents":    {Content: 1},
			"size":        {Size: -1},
		})
}

func TestSharedAnonymousMemory(t *testing.T) {
	mapAt(t, 64*kib, rw, unix.MAP_SHARED|unix.MAP_ANONYMOUS, noFD)
	copy(bytesAt(8*kib, 5), "share")
	link := "/proc/self/map_files/200000000000-200000010000"
	fd, err := unix.Open(link, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("opening %s: %v", link, err)
	}
	defer unix.Close(fd)
	_, again := remake(t, fd, Shmem())
	was, is := statOf(t, fd), statOf(t, again)
	if is.Size != was.Size || is.Mode != was.Mode || is.Ino == was.Ino {
		t.Errorf("made again as %+v, was %+v", is, was)
	}
	if path := must(os.Readlink("/proc/self/fd/" + itoa(again)))(t); path != "/dev/zero (deleted)" {
		t.Error(path)
	}
	got := make([]byte, 5)
	if n, err := unix.Pread(again, got, 8*kib); err != nil || string(got[:n]) != "share" {
		t.Errorf("%q, %v", got[:n], err)
	}
}

func TestShmemCheck(t *testing.T) {
	checks(t, Shmem(), []shmemRecord{{Size: 4096}, {Size: windowLimit}}, map[string]shmemRecord{
		"empty": {}, "half a page": {Size: 512}, "huge": {Size: windowLimit + 4096},
	})
	for _, id := range []uint32{0, 1, 4095, 1<<32 - 1} {
		if at := window(id); at < windowBase || at+windowLimit > 1<<47-pageSize || at%pageSize != 0 {
			t.Errorf("inode %d is mapped at %x", id, at)
		}
	}
}

func TestRegfile(t *testing.T) {
	path := t.TempDir() + "/file"
	fd := openFor(t, path, unix.O_RDWR|unix.O_CREAT)
	must(unix.Write(fd, []byte("text")))(t)
	mtime := []unix.Timespec{{Sec: -5, Nsec: 7}, {Sec: -5, Nsec: 7}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, mtime, 0); err != nil {
		t.Fatal(err)
	}
	w, i := fileIn(t, fd)
	i.Stat.Mtime = mtime[0].Nano()
	k := Regfile()
	r := w.record(k, i)
	h := &kind.Host{Self: i.Ref().Main()}
	again := func() error {
		for _, s := range k.Plan(r, h) {
			for _, op := range s.Ops {
				if err := w.op(op); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	if is := statOf(t, w.fds[h.Self]); is.Ino != i.Stat.Ino {
		t.Error("another file")
	}
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"grown", func() { must(unix.Write(fd, []byte("more")))(t) }, "changed since the dump: size 4 -> 8, mtime 1969-12-31T23:59:55.000000007Z -> "},
		{"replaced", func() { os.Remove(path); os.Mkdir(path, 0o700) }, "changed since the dump: type 0100000 -> 040000"},
		{"gone", func() { os.Remove(path) }, "no such file or directory"},
	} {
		c.do()
		if err := again(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestRegfileElsewhere(t *testing.T) {
	path := t.TempDir() + "/file"
	fd := openFor(t, path, unix.O_RDWR|unix.O_CREAT)
	w, i := fileIn(t, fd)
	os.Rename(path, path+"2")
	if why := w.refused(i); !strings.Contains(why, "does not lead to it") {
		t.Error(why)
	}
	os.WriteFile(path, nil, 0o600)
	if why := w.refused(i); !strings.Contains(why, "leads to another file") {
		t.Error(why)
	}
}

func TestViewsMayChange(t *testing.T) {
	w, i := fileIn(t, openFor(t, "/proc/uptime", unix.O_RDONLY))
	r := w.record(Regfile(), i)
	if got := *r.(*regfileRecord); !got.View || got.Mtime != 0 {
		t.Errorf("%+v", got)
	}
}

func TestPaths(t *testing.T) {
	good, bad := []string{"/", "/a", "/a b/\xff", "/a..b/..."}, []string{"", "a", "/a/", "//a", "/a/../b", "/a/.", "/a\x00b", "/" + strings.Repeat("x", 4096)}
	for _, p := range good {
		if err := checkPath([]byte(p)); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range bad {
		if checkPath([]byte(p)) == nil {
			t.Errorf("%q was accepted", p)
		}
	}
}

func TestDirectoryAndDevice(t *testing.T) {
	for path, k := range map[string]kind.Kind{t.TempDir(): Directory(), "/": Directory(), "/dev/null": Chardev(), "/dev/urandom": Chardev()} {
		fd := openFor(t, path, unix.O_RDONLY)
		_, again := remake(t, fd, k)
		if was, is := statOf(t, fd), statOf(t, again); is.Ino != was.Ino || is.Rdev != was.Rdev {
			t.Errorf("%s: %+v, was %+v", path, is, was)
		}
	}
	checks(t, Chardev(), nil, map[string]chardevRecord{"/dev/mem": {[]byte("/dev/mem"), 1, 1}, "no path": {nil, 1, 3}})
	checks(t, Directory(), nil, map[string]directoryRecord{"no path": {}})
}

func TestUnsupportedInodesAreNamed(t *testing.T) {
	for word, i := range map[string]*kind.InodeSite{
		"System V shared memory": {Path: "/SYSV00000000", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFREG, FSType: unix.TMPFS_MAGIC}},
		"asynchronous":           {Path: "/[aio]", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFREG, FSType: aioMagic}},
		"secret memory":          {Path: "/secretmem", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFREG, FSType: unix.SECRETMEM_MAGIC}},
		"message queue":          {Path: "/queue", Stat: kind.Stat{Mode: unix.S_IFREG, FSType: mqueueMagic}},
		"huge pages":             {Path: "/mnt/huge/f", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFREG, FSType: unix.HUGETLBFS_MAGIC}},
		"[io_uring]":             {Path: "anon_inode:[io_uring]", Stat: kind.Stat{Mode: unix.S_IFREG}},
		"deleted directory":      {Path: "/tmp/d", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFDIR}},
		"device 226:0":           {Path: "/dev/dri/card0", Stat: kind.Stat{Mode: unix.S_IFCHR, Rdev: unix.Mkdev(226, 0)}},
		"block device 8:0":       {Path: "/dev/sda", Stat: kind.Stat{Mode: unix.S_IFBLK, Rdev: unix.Mkdev(8, 0)}},
		"symbolic link":          {Path: "/tmp/l", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFLNK}},
	} {
		if why := newWorld(t).refused(i); !strings.Contains(why, word) {
			t.Errorf("%s: %q", word, why)
		}
	}
}

func TestSymlink(t *testing.T) {
	path := t.TempDir() + "/link"
	if err := os.Symlink("some/where", path); err != nil {
		t.Fatal(err)
	}
	fd := openFor(t, path, unix.O_PATH|unix.O_NOFOLLOW)
	r, again := remake(t, fd, Symlink())
	if got := string(r.(*symlinkRecord).Target); got != "some/where" {
		t.Errorf("the target %q", got)
	}
	if was, is := statOf(t, fd), statOf(t, again); is.Ino != was.Ino || is.Mode != was.Mode {
		t.Errorf("%+v, was %+v", is, was)
	}
	checks(t, Symlink(), nil, map[string]symlinkRecord{"no path": {nil, []byte("x")}, "no target": {[]byte("/x"), nil}, "a NUL": {[]byte("/x"), []byte("a\x00")}})
}
