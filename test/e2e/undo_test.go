package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/test/harness"
)

// noRoom is an image of a fixture with a stack for signals that has no room for one: it fails when the tree is built.
func (o *original) noRoom(t *testing.T) string {
	t.Helper()
	body, err := image.Marshal(struct {
		At   uint64 `cbor:"1,keyasint"`
		Size uint64 `cbor:"2,keyasint"`
	}{1 << 20, 2})
	if err != nil {
		t.Fatal(err)
	}
	return o.rewrite(t, func(m *image.Manifest) {
		for i := range m.Records {
			if m.Records[i].Kind == "altstack" {
				m.Records[i].Body = body
			}
		}
	})
}

// TestFailedIsNotOnce: a restore that was written down and came to nothing doesn't count, as often as it is tried.
func TestFailedIsNotOnce(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	o := newOriginal(t, "tiny")
	if o == nil {
		t.Fatal("no image")
	}
	img := o.noRoom(t)
	for range 3 {
		refusal(t, r.rstr("--once", img), cli.Failure, "signal stack", "cannot allocate memory")
		if harness.Exists(int(o.m.PIDs[0])) {
			t.Fatal("a process was left behind")
		}
	}
	ledger, err := os.ReadFile("/proc/" + r.pid + "/root/var/lib/ckpt/restored")
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := verify.ParseLedger(ledger)
	if err != nil || len(l.Entries()) != 6 || !l.Entries()[5].Back {
		t.Errorf("the ledger has %v, %v", l, err)
	}
}

// TestSocketFileStays: a restore that fails after it has bound a unix socket leaves the dead file that was there, and none where there
// was none. What fails is a stack for signals that has no room for one.
func TestSocketFileStays(t *testing.T) {
	t.Parallel()
	o := newOriginal(t, "sock_listen")
	if o == nil {
		t.Fatal("no image")
	}
	img := o.noRoom(t)
	path := filepath.Join(o.dir, "socket")
	for _, there := range []bool{true, false} {
		refusal(t, rstr(t, "--verify", "--detach", img), cli.Failure, "signal stack", "cannot allocate memory")
		st, err := os.Lstat(path)
		if there != (err == nil) || there && (st.Mode().Type() != os.ModeSocket || st.Mode().Perm() != 0o755) {
			t.Errorf("there was a file: %v; there is: %v, %v", there, st, err)
		}
		if harness.Exists(int(o.m.PIDs[0])) {
			t.Fatal("a process was left behind")
		}
		os.Remove(path)
	}
}
