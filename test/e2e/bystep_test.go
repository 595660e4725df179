package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ckptool/ckpt/test/harness"
)

// TestGrantIsNoMore: until a tree that a policy grants takes on its credentials its tasks are root's, but they find and make files as their
// caller does, or as who they will be: not where root alone could.
func TestGrantIsNoMore(t *testing.T) {
	t.Parallel()
	shared := newOffice(t)
	restored := func(t *testing.T, o *office, j *job, image string) {
		t.Helper()
		was := j.progress().Seq
		if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
			t.Fatal(res)
		}
		j.reach(was + 2)
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("her own directory", func(t *testing.T) { // which is closed to root without capabilities
		o := &office{&world{shared.World, t}, shared.key, shared.suid}
		o.etc("policy.toml", "version = 1\n"+strings.ReplaceAll(clerks, "clerk@test", "ops@test"))
		j := o.begin(harness.Alice, "sock_listen")
		restored(t, o, j, o.signed(j, o.key))
	})
	t.Run("a socket's file", func(t *testing.T) {
		o := &office{&world{shared.World, t}, shared.key, shared.suid}
		o.etc("policy.toml", grants)
		j := o.begin(harness.Eve, "sock_listen") // bound to a path in its directory
		socket := filepath.Join(j.dir, "socket")
		before := owned(t, socket)
		image := o.signed(j, o.key)
		rewind := j.rewinds()
		restored(t, o, j, image)
		if after := owned(t, socket); after != before {
			t.Errorf("the file was of user %d, group %d, mode %#o, and now of %d, %d, %#o", before.uid, before.gid, before.mode, after.uid, after.gid, after.mode)
		}
		// Now there is a directory of root's in the place of hers.
		if err := os.Remove(socket); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(j.dir, j.dir+".hers"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(j.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		rewind()
		res := o.run(harness.Alice, o.suid, "--detach", image)
		if made, _ := os.ReadDir(j.dir); res.OK() || len(made) > 0 || j.left() || !strings.Contains(res.Stderr, "bind it to") {
			t.Errorf("in root's directory there is %v: %v", made, res)
		}
	})
}

type owner struct {
	uid, gid uint32
	mode     os.FileMode
}

func owned(t *testing.T, path string) owner {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return owner{st.Uid, st.Gid, info.Mode()}
}
