package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/test/harness"
)

// TestSocketFileStays: a restore that fails after it has bound a unix socket leaves the dead file that was there, and none where there
// was none. What fails is a stack for signals that has no room for one.
func TestSocketFileStays(t *testing.T) {
	t.Parallel()
	o := newOriginal(t, "sock_listen")
	if o == nil {
		t.Fatal("no image")
	}
	body, err := image.Marshal(map[int]uint64{1: 1 << 20, 2: 2}) // at 1 << 20, of 2 bytes
	if err != nil {
		t.Fatal(err)
	}
	img := o.rewrite(t, func(m *image.Manifest) {
		for i := range m.Records {
			if m.Records[i].Kind == "altstack" {
				m.Records[i].Body = body
			}
		}
	})
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
