package kernelio

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// begin is CreateAtomic on a filesystem with O_TMPFILE, or without.
type begin func(path string, replace bool) (*AtomicFile, error)

func TestAtomicFile(t *testing.T) {
	for name, test := range map[string]func(*testing.T, begin){
		"commit": testCommit, "abort": testAbort, "lost race": testLostRace, "replace": testReplace,
	} {
		t.Run(name, func(t *testing.T) { test(t, CreateAtomic) })
		t.Run(name+" with a name", func(t *testing.T) { test(t, createNamedForTest) })
	}
}

func (f begin) must(t *testing.T, path string, replace bool) *AtomicFile {
	t.Helper()
	a, err := f(path, replace)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testCommit(t *testing.T, begin begin) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	a := begin.must(t, path, false)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	for _, b := range [][]byte{[]byte("head"), big, big} {
		if n, err := a.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("visible before Commit")
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 4+2*len(big) || string(got[:6]) != "head01" {
		t.Errorf("%d %v", len(got), err)
	}
	if st, _ := os.Stat(path); st.Mode() != 0o600 {
		t.Error(st.Mode())
	}
	if err := a.Abort(); err != nil {
		t.Error(err)
	}
	only(t, dir, "out")
}

func testAbort(t *testing.T, begin begin) {
	dir := t.TempDir()
	a := begin.must(t, filepath.Join(dir, "out"), false)
	a.Write([]byte("x"))
	if err := a.Abort(); err != nil {
		t.Error(err)
	}
	only(t, dir)
}

func testLostRace(t *testing.T, begin begin) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	a := begin.must(t, path, false)
	os.WriteFile(path, []byte("theirs"), 0o600)
	if err := a.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "theirs" {
		t.Errorf("%q", got)
	}
	only(t, dir, "out")
}

func testReplace(t *testing.T, begin begin) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	os.WriteFile(path, []byte("old"), 0o644)
	a := begin.must(t, path, true)
	a.Write([]byte("new"))
	if err := a.Commit(); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("%q", got)
	}
	only(t, dir, "out")
}

// createNamedForTest is CreateAtomic on a filesystem without O_TMPFILE.
func createNamedForTest(path string, replace bool) (*AtomicFile, error) {
	a, err := CreateAtomic(path, replace)
	if err != nil {
		return nil, err
	}
	if err := a.file.Close(); err != nil {
		return nil, err
	}
	return a, a.createNamed()
}

func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != len(names) {
		t.Fatalf("the directory holds %v, not %v %v", list, names, err)
	}
	for i, e := range list {
		if e.Name() != names[i] {
			t.Errorf("%s instead of %s", e.Name(), names[i])
		}
	}
}

func TestCreateAtomicRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	os.WriteFile(path, nil, 0o644)
	os.Symlink("out", filepath.Join(dir, "link"))
	for _, c := range []struct {
		path    string
		replace bool
	}{{path, false}, {filepath.Join(dir, "link"), true}, {"/dev/null", true}, {dir, true}, {filepath.Join(dir, "no/x"), false}} {
		if a, err := CreateAtomic(c.path, c.replace); err == nil {
			a.Abort()
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestAtomicFileFullDisk(t *testing.T) {
	a, err := CreateAtomic("/dev/shm/ckpt-test", false)
	if err != nil {
		t.Skip(err)
	}
	defer a.Abort()
	a.file.Close()
	full, err := OpenPath("/dev/full", os.O_WRONLY)
	if err != nil {
		t.Skip(err)
	}
	a.file = full
	if n, err := a.Write([]byte("x")); n != 0 || err == nil {
		t.Error(n, err)
	}
}
