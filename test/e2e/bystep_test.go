package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
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

// TestSwappedDirectories: a grant for a tree of files opens what was dumped there, while somebody swaps a directory on the way, over and over,
// with a link to where root keeps another file that looks and reads the same.
func TestSwappedDirectories(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	script := `set -e
mkdir -p /var/hers/d /var/lib/vault; chmod 755 /var/hers /var/lib/vault
printf same > /var/hers/d/file; cp -p /var/hers/d/file /var/lib/vault/file
chmod 600 /var/hers/d/file /var/lib/vault/file; ln -s /var/lib/vault /var/hers/link
chown alice:alice /var/hers
chown alice:alice /var/hers/d
exec 5</var/hers/d/file; exec "$@"`
	j := newJob(t)
	j.givenTo(harness.Alice)
	j.start(o.As(harness.Superuser, append([]string{"/bin/sh", "-c", script, "sh"}, o.As(harness.Alice, path, j.status, j.dir)...)...), nil, nil)
	image := o.signed(j, o.key)
	o.etc("policy.toml", strings.Replace(asRoot, `uids = ["root"]`, `files = [{ tree = "/var/hers", mode = "r" }, { tree = "/tmp", mode = "rw" }]`, 1))
	rewind := j.rewinds()
	swapper := `import ctypes, time
rename, end = ctypes.CDLL(None).renameat2, time.time() + 8
while time.time() < end:
    for _ in range(200):
        rename(-100, b"/var/hers/d", -100, b"/var/hers/link", 2) # RENAME_EXCHANGE
    time.sleep(0.0003)
`
	swapped := make(chan harness.Result, 1)
	go func() {
		res, err := once(harness.Command{Argv: o.As(harness.Alice, "/usr/bin/python3", "-c", swapper)})
		if err != nil {
			t.Error(err)
		}
		swapped <- res
	}()
	codes := map[int]int{}
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); {
		rewind()
		res := o.run(harness.Alice, o.suid, "--detach", image)
		if codes[res.Code()]++; !res.OK() {
			continue
		}
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/5", j.pid)); err == nil && strings.Contains(link, "vault") {
			t.Fatalf("descriptor 5 leads to %s", link)
		}
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	if res := <-swapped; !res.OK() {
		t.Errorf("the swapping: %v", res)
	}
	t.Logf("restores while directories are swapped, by exit code: %v", codes)
	if codes[cli.OK] == 0 || len(codes) < 2 {
		t.Errorf("the race was not run: %v", codes)
	}
}

// TestSuidDumpable: where processes that have changed their user stay open to it, nothing is granted.
func TestSuidDumpable(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	mode := func(n string) {
		t.Helper()
		script := `echo "$1" > /var/mode && { umount /proc/sys/fs/suid_dumpable 2>/dev/null; mount --bind /var/mode /proc/sys/fs/suid_dumpable; }`
		if res := o.run(harness.Superuser, "/bin/sh", "-c", script, "sh", n); !res.OK() {
			t.Fatal(res)
		}
	}
	mode("1")
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.NotAllowed, "fs.suid_dumpable")
	if j.left() {
		t.Error("something is left")
	}
	mode("2")
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}
