package kinds

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func itoa(n int) string { return strconv.Itoa(n) }

// openFor opens a file for the length of a test.
func openFor(t *testing.T, path string, flags int) int {
	t.Helper()
	fd := must(unix.Open(path, flags|unix.O_CLOEXEC, 0o600))(t)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// restoreFile restores descriptions of one inode, whose own kind is
// another's: the tool's descriptor of it is the old one.
func (w *world) restoreFile(f *kind.FileSite) {
	w.t.Helper()
	k := claimer(w.t, plan.OpenFile, f)
	steps := k.Plan(w.record(k, f), &kind.Host{Self: f.Ref().Main(), InTree: w.InTree})
	for stage := range steps {
		w.run(planned{k, steps[stage : stage+1]}, steps[stage].Stage)
	}
}

func TestFileKeepsFlagsAndPosition(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		flags int
		pos   int64
	}{
		{path, unix.O_RDONLY, 0},
		{path, unix.O_RDWR | unix.O_APPEND, 7},
		{path, unix.O_WRONLY | unix.O_DSYNC | unix.O_NONBLOCK, 1 << 40},
		{path, unix.O_RDWR | unix.O_SYNC | unix.O_NOATIME, 3},
		{path, unix.O_ACCMODE, 0},
		{path, unix.O_PATH, 0},
		{dir, unix.O_RDONLY | unix.O_DIRECTORY, 0},
		{dir, unix.O_PATH | unix.O_DIRECTORY, 0},
		{"/dev/null", unix.O_RDWR, 0},
		{"/dev/urandom", unix.O_RDONLY, 0},
	} {
		w := newWorld(t)
		fd := openFor(t, c.path, c.flags)
		if c.pos != 0 {
			must(unix.Seek(fd, c.pos, 0))(t)
		}
		f := w.add(fd)
		w.restoreFile(f)
		w.same(f)
		if t.Failed() {
			t.Fatalf("%+v", c)
		}
	}
}

func TestFileByPathOfASymlink(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	f := w.add(openFor(t, path, unix.O_PATH|unix.O_NOFOLLOW))
	w.restoreFile(f)
	got, err := os.Readlink("/proc/self/fd/" + itoa(w.fd(f.Ref().Main())))
	if err != nil || got != path {
		t.Errorf("leads to %q, %v", got, err)
	}
}

func TestFileDirectoryPosition(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for _, n := range "abcdefgh" {
		if err := os.WriteFile(filepath.Join(dir, string(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd := openFor(t, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	buf := make([]byte, 100) // room for a few names
	must(unix.ReadDirent(fd, buf))(t)
	f := w.add(fd)
	w.restoreFile(f)
	w.same(f)
	rest := func(fd int) string {
		b := make([]byte, 4096)
		n := must(unix.ReadDirent(fd, b))(t)
		_, _, names := unix.ParseDirent(b[:n], -1, nil)
		return strings.Join(names, " ")
	}
	if a, b := rest(fd), rest(w.fd(f.Ref().Main())); a != b || a == "" {
		t.Errorf("goes on with %q, was to go on with %q", b, a)
	}
}

// TestFileDirectoryAtItsEnd is about ext4, where a directory that is first
// read at its end has no entries any more.
func TestFileDirectoryAtItsEnd(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for i := range 1000 { // enough for an indexed directory
		if err := os.WriteFile(filepath.Join(dir, itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd := openFor(t, dir, unix.O_RDONLY)
	buf := make([]byte, 1<<16)
	for must(unix.ReadDirent(fd, buf))(t) > 0 {
	}
	f := w.add(fd)
	w.restoreFile(f)
	w.same(f)
	again := w.fd(f.Ref().Main())
	if n := must(unix.ReadDirent(again, buf))(t); n != 0 {
		t.Errorf("%d bytes at the end", n)
	}
	must(unix.Seek(again, 0, 0))(t)
	if n := must(unix.ReadDirent(again, buf))(t); n == 0 {
		t.Error("nothing after rewinding")
	}
}

func TestFileWithoutAName(t *testing.T) {
	w := newWorld(t)
	fd := openFor(t, t.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_APPEND)
	must(unix.Write(fd, []byte("temporary")))(t)
	f := w.add(fd)
	f.Inode.Deleted = true
	w.restoreFile(f) // onto the old one, which stands for the ghost's
	w.same(f)
	other := w.add(must(unix.Open("/proc/self/fd/"+itoa(fd), unix.O_WRONLY, 0))(t))
	other.Info.Flags |= unix.O_TMPFILE // as if it were named by now
	w.restoreFile(other)
	if got := infoOf(t, w.fd(other.Ref().Main())).Flags & unix.O_ACCMODE; got != unix.O_WRONLY {
		t.Errorf("mode %d", got)
	}
}

func TestFileCheck(t *testing.T) {
	for name, r := range map[string]fileRecord{
		"no inode": {}, "creating": {Inode: 1, Flags: unix.O_CREAT}, "before the start": {Inode: 1, Pos: -1},
		"path with position": {Inode: 1, Flags: unix.O_PATH, Pos: 1}, "born otherwise": {Inode: 1, Flags: unix.O_RDWR, Born: true},
	} {
		if checkFile(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
