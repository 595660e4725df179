package dump

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// TestByPath: a path serves in the place of a mapping's link only if it leads
// to the same device and inode.
func TestByPath(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "one"), filepath.Join(dir, "other (deleted)"), filepath.Join(dir, "new\nline")}
	for _, p := range paths {
		if err := os.WriteFile(p, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("one", link); err != nil {
		t.Fatal(err)
	}
	s := &session{inodeOf: map[inodeKey]*inode{}, held: map[*kind.InodeSite]*inode{}}
	defer s.close()
	as := func(path string) *abi.SmapsVMA {
		fd, err := kernelio.OpenPath(path, unix.O_PATH)
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close()
		dev, ino, err := kernelio.MappedAs(fd.Int())
		if err != nil {
			t.Fatal(err)
		}
		return &abi.SmapsVMA{VMA: abi.VMA{Dev: dev, Inode: ino, Path: path}}
	}
	for i, p := range paths {
		if got, err := s.byPath(&kind.TaskSite{}, as(p), p); err != nil || got == nil || got.Path != p || got.Deleted || got.Unheld {
			t.Errorf("%q: %+v, %v", p, got, err)
		}
		if got, err := s.byPath(&kind.TaskSite{}, as(paths[(i+1)%3]), p); err != nil || got != nil {
			t.Errorf("%q for another file: %+v, %v", p, got, err)
		}
		other := as(p)
		other.Dev++
		if got, err := s.byPath(&kind.TaskSite{}, other, p); err != nil || got != nil {
			t.Errorf("%q for a file on another device: %+v, %v", p, got, err)
		}
	}
	for _, p := range []string{link, dir + "/nothing", paths[0] + "/below", "anon_inode:[eventfd]", strings.TrimPrefix(paths[0], "/")} {
		if got, err := s.byPath(&kind.TaskSite{}, as(paths[0]), p); err != nil || got != nil {
			t.Errorf("%q: %+v, %v", p, got, err)
		}
	}
}
