package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ckptool/ckpt/pkg/verify"
)

func me() uint32 { return uint32(os.Getuid()) }

func anEntry(n byte) verify.Entry {
	return verify.Entry{Manifest: verify.Digest{n}, Lineage: [16]byte{1}, Serial: uint64(n), When: time.Now(), Caller: me()}
}

func mustOpen(t *testing.T, dir string) *LedgerFile {
	t.Helper()
	l, err := OpenLedger(dir, me())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLedgerRemembers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "ckpt")
	once := verify.Rule{Once: true}
	if peek, err := PeekLedger(dir, me()); err != nil || len(peek.Entries()) != 0 {
		t.Errorf("before there is one: %v, %v", peek, err)
	}
	l := mustOpen(t, dir)
	for n := byte(1); n < 4; n++ {
		if err := l.Consume(anEntry(n), once); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	l = mustOpen(t, dir)
	if n := len(l.Ledger().Entries()); n != 3 {
		t.Errorf("%d entries", n)
	}
	if peek, err := PeekLedger(dir, me()); err != nil || len(peek.Entries()) != 3 {
		t.Errorf("beside a lock: %v, %v", peek, err)
	}
	if _, err := PeekLedger(dir, me()+1); !errors.Is(err, verify.ErrLedger) {
		t.Errorf("another's: %v", err)
	}
	if err := l.Consume(anEntry(2), once); !errors.Is(err, verify.ErrConsumed) {
		t.Errorf("again: %v", err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, ledgerName): 0o600} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
}

// A restore that came to nothing is none.
func TestLedgerTakesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ckpt")
	once := verify.Rule{Once: true}
	for _, last := range []bool{false, false, true} {
		l := mustOpen(t, dir)
		if err := l.Consume(anEntry(1), once); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l = mustOpen(t, dir); last {
			if err := l.Consume(anEntry(1), once); !errors.Is(err, verify.ErrConsumed) {
				t.Error(err)
			}
			return
		}
		if err := l.TakeBack(anEntry(1)); err != nil {
			t.Fatal(err)
		}
		if err := l.TakeBack(anEntry(1)); !errors.Is(err, verify.ErrLedger) {
			t.Errorf("twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Of many restores of one image at one time, exactly one goes through.
func TestOneOfManyConsumes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ckpt")
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for range 16 {
		wg.Go(func() {
			l, err := OpenLedger(dir, me())
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			err = l.Consume(anEntry(1), verify.Rule{Once: true})
			if err != nil && !errors.Is(err, verify.ErrConsumed) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d restores consumed the image", won)
	}
}

func TestLedgerOpenToOthers(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"directory": func(dir string) error { return os.Chmod(dir, 0o755) },
		"file":      func(dir string) error { return os.Chmod(filepath.Join(dir, ledgerName), 0o640) },
		"garbage":   func(dir string) error { return os.WriteFile(filepath.Join(dir, ledgerName), []byte("garbage"), 0o600) },
		"symlink": func(dir string) error {
			file := filepath.Join(dir, ledgerName)
			return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file))
		},
	} {
		dir := filepath.Join(t.TempDir(), "ckpt")
		_ = mustOpen(t, dir).Close()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLedger(dir, me()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	dir := filepath.Join(t.TempDir(), "ckpt")
	if _, err := OpenLedger(dir, me()+1); !errors.Is(err, verify.ErrLedger) {
		t.Errorf("another's directory: %v", err)
	}
}

func TestTornLedgerIsContinued(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ckpt")
	l := mustOpen(t, dir)
	for n := byte(1); n < 3; n++ {
		if err := l.Consume(anEntry(n), verify.Rule{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.Close()
	if err := os.Truncate(filepath.Join(dir, ledgerName), int64(l.good-5)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir)
	if err := l.Consume(anEntry(3), verify.Rule{Once: true}); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if n := len(mustOpen(t, dir).Ledger().Entries()); n != 2 {
		t.Errorf("%d entries, want the first and the third", n)
	}
}

// A restore that is killed at any moment has either consumed the image for good
// or not at all, and leaves no lock behind.
func TestKilledWhileConsuming(t *testing.T) {
	if os.Getenv("LEDGER_CHILD") != "" {
		consumeForever(os.Getenv("LEDGER_CHILD"))
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ckpt")
	for i := range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileConsuming$")
		cmd.Env = append(os.Environ(), "LEDGER_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		promised := 0
		time.AfterFunc(time.Duration(15+i)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, err := fmt.Sscanf(lines.Text(), "consumed %d", &promised); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
		}
		_ = cmd.Wait()
		l := mustOpen(t, dir)
		if n := len(l.Ledger().Entries()); n < promised {
			t.Fatalf("killed after %d entries: %d there", promised, n)
		}
		_ = l.Close()
	}
}

func consumeForever(dir string) {
	for {
		l, err := OpenLedger(dir, me())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		e := anEntry(1)
		e.Override = true
		if err := l.Consume(e, verify.Rule{}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("consumed", len(l.Ledger().Entries()))
		_ = l.Close()
	}
}
