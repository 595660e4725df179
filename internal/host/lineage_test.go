package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ckptool/ckpt/pkg/verify"
)

func TestLineages(t *testing.T) {
	l := OwnLineages("/nowhere", t.TempDir())
	dead := exec.Command("sleep", "100")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Of(os.Getpid()); got != nil || err != nil {
		t.Fatalf("of nothing: %v, %v", got, err)
	}
	a, b := Lineage{ID: [16]byte{1}, Serial: 7, Last: verify.Digest{2}}, Lineage{ID: [16]byte{3}, Serial: 1}
	for _, now := range []Lineage{b, a} {
		if err := l.Remember(os.Getpid(), now); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Of(os.Getpid()); err != nil || *got != now {
			t.Fatalf("%v, %v, want %v", got, err, now)
		}
	}
	if err := l.Remember(dead.Process.Pid, b); err != nil {
		t.Fatal(err)
	}
	entries := func() int {
		all, err := os.ReadDir(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := entries(); n != 2 {
		t.Errorf("%d entries of two processes", n)
	}
	// Processes that are gone are forgotten; so is another boot, but not another PID namespace.
	_ = dead.Process.Kill()
	_ = dead.Wait()
	for _, name := range []string{"other-boot.1.1.1", "junk"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, err := lineageName(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := own[:36] + ".1.1.1"
	if err := os.WriteFile(filepath.Join(l.dir, elsewhere), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Remember(os.Getppid(), a); err != nil {
		t.Fatal(err)
	}
	if n := entries(); n != 3 {
		t.Errorf("%d entries, want ours, our parent's and that of another PID namespace", n)
	}
	if err := os.WriteFile(filepath.Join(l.dir, own), []byte("00 1 00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Of(os.Getpid()); err == nil {
		t.Errorf("junk: %v", got)
	}
}

func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host")
	me := me()
	if names, err := namesIn(path, me); names != nil || err != nil {
		t.Errorf("no file: %v, %v", names, err)
	}
	write(t, path, "# of the cluster\nnode1\n\n  SHA256:abc \n")
	names, err := namesIn(path, me)
	if err != nil || len(names) != 2 || names[0] != "node1" || names[1] != "SHA256:abc" {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := namesIn(path, me+1); err == nil {
		t.Error("another's file is believed")
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := namesIn(path, me); err == nil {
		t.Error("a file that the group can write is believed")
	}
	two := filepath.Join(t.TempDir(), "host")
	write(t, two, "node1 node2\n")
	if _, err := namesIn(two, me); err == nil {
		t.Error("two names on a line")
	}
}
