package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A policy counts only if nobody but root can have written it; one with a
// mistake in it is an error and not as good as none.
func TestReadPolicy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("files of root's are for root to make")
	}
	dir, err := os.MkdirTemp("/var", "policy") // below /tmp nothing is safe from others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "policy.toml")
	if p, err := ReadPolicy(path); p != nil || err != nil {
		t.Errorf("none: %v, %v", p, err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("version = 1\n")
	if p, err := ReadPolicy(path); p == nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	write("version = 1\nfoo = 2\n")
	if p, err := ReadPolicy(path); p != nil || !errors.Is(err, ErrPolicy) {
		t.Errorf("a mistake: %v, %v", p, err)
	}
	write("version = 1\n")
	for name, change := range map[string]func() error{
		"a group's":         func() error { return os.Chmod(path, 0o664) },
		"everybody's":       func() error { return os.Chmod(path, 0o646) },
		"another owner's":   func() error { return errors.Join(os.Chmod(path, 0o644), os.Chown(path, 12345, 0)) },
		"another directory": func() error { return errors.Join(os.Chown(path, 0, 0), os.Chown(dir, 12345, 0)) },
		"an open directory": func() error { return errors.Join(os.Chown(dir, 0, 0), os.Chmod(dir, 0o777)) },
	} {
		os.Chown(path, 0, 0)
		os.Chmod(path, 0o644)
		os.Chown(dir, 0, 0)
		os.Chmod(dir, 0o755)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if p, err := ReadPolicy(path); p != nil || !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// Groups count that the kernel shows and the database still has.
func TestCallerGroups(t *testing.T) {
	p := &People{}
	s := p.Caller(0, 0, []uint32{0, 3999999})
	if s.Name != "root" || len(s.Groups) != 1 || s.Groups[0] != 0 {
		t.Errorf("%+v", s)
	}
	if s := p.Caller(3999999998, 5, []uint32{5}); s.Name != "" || len(s.Groups) != 0 {
		t.Errorf("%+v", s)
	}
	if id, ok := p.User("root"); id != 0 || !ok {
		t.Error(id, ok)
	}
	if id, ok := p.Group("nobody-knows-it"); ok {
		t.Error(id)
	}
}
