package kindtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/test/harness"
)

// Records checks records that were dumped from programs.
func Records(t *testing.T, table kind.Table, records []image.Record) {
	t.Helper()
	seen := map[string]bool{}
	defer func() {
		for _, k := range table {
			if !seen[k.Name()] {
				t.Logf("no record of %s to look at", k.Name())
			}
		}
	}()
	for i := range records {
		r := &records[i]
		seen[r.Kind] = true
		k := table.Named(r.Kind)
		if k == nil {
			t.Errorf("a record of %s", r.Kind)
			continue
		}
		if _, err := k.Decode(r.Version, r.Body); err != nil {
			t.Errorf("what was dumped is refused: %v", err)
		}
		if err := body(k, r.Body); err != nil {
			t.Errorf("%s: %v\n%x", r.Kind, err, r.Body)
		}
	}
}

// Fuzz looks for a record of any kind that breaks the rules. The first byte
// says which kind; what the others are, the kind's codec decides.
func Fuzz(f *testing.F, table kind.Table, records []image.Record) {
	for i, k := range table {
		f.Add(uint16(i), []byte{0xa0})
		for _, r := range records {
			if r.Kind == k.Name() {
				f.Add(uint16(i), r.Body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, b []byte) {
		k := table[int(which)%len(table)]
		if err := body(k, b); err != nil {
			t.Errorf("%s: %v", k.Name(), err)
		}
	})
}

// Dumped dumps C fixtures of testdata/fixtures and gives their records, each
// body once. It needs root and gcc.
func Dumped(t testing.TB, table kind.Table, fixtures ...string) []image.Record {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out []image.Record
	seen := map[string]bool{}
	for _, name := range fixtures {
		all, err := dumped(t, table, filepath.Join(root, "testdata/fixtures", name+".c"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range all {
			if key := r.Kind + string(r.Body); !seen[key] {
				seen[key] = true
				out = append(out, r)
			}
		}
	}
	return out
}

// memory is an Output that keeps the image.
type memory struct{ bytes.Buffer }

func (*memory) Commit() error { return nil }
func (*memory) Close() error  { return nil }

func dumped(t testing.TB, table kind.Table, source string) (image.Records, error) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if out, err := exec.Command("gcc", "-O1", "-pthread", "-o", program, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		return nil, err
	}
	c := exec.Command(program, filepath.Join(dir, "status"), filepath.Join(dir, "dir"))
	c.Dir = "/"
	// What the test itself was started with is not the program's.
	if err := kernelio.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer func() {
		for _, pid := range harness.Tree(c.Process.Pid) {
			harness.Signal(pid, unix.SIGKILL)
		}
		c.Wait()
	}()
	if err := ready(filepath.Join(dir, "status")); err != nil {
		return nil, err
	}
	var m memory
	_, err := dump.Run(dump.Options{PID: c.Process.Pid, Table: table, Header: image.Header{Class: image.ClassSelf},
		Output: func() (dump.Output, error) { return &m, nil }})
	if err != nil {
		return nil, err
	}
	r, err := image.Open(bytes.NewReader(m.Bytes()), int64(m.Len()))
	if err != nil {
		return nil, err
	}
	manifest, err := r.Decode()
	if err != nil {
		return nil, err
	}
	return manifest.Records, nil
}

// ready waits until a fixture has said that it is.
func ready(status string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if b, _ := os.ReadFile(status); strings.Contains(string(b), "seq 2\n") {
			return nil
		}
	}
	return errors.New("it does not get ready")
}
