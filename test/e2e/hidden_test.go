package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// keeper starts a program of alice's that was given /var/lib/vault/secret as descriptor 5 by root, and a directory beside it as its own:
// alice can reach neither.
func (o *office) keeper() (j *job, secret string) {
	o.t.Helper()
	from, err := shared.C("tiny")
	if err != nil {
		o.t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		o.t.Fatal(err)
	}
	secret = filepath.Join(o.Var, "lib/vault/secret")
	if err := os.Mkdir(filepath.Dir(secret), 0o700); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(secret), "room"), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		o.t.Fatal(err)
	}
	j = newJob(o.t)
	j.givenTo(harness.Alice)
	as := o.As(harness.Alice, path, j.status, j.dir)
	for i, word := range as { // the namespace is entered already
		if strings.HasSuffix(word, "/setpriv") {
			as = as[i:]
			break
		}
	}
	given := append([]string{"/bin/sh", "-c", `cd /var/lib/vault/room; exec 5<../secret; exec "$@"`, "sh"}, as...)
	j.start(o.As(harness.Superuser, given...), nil, nil)
	return j, secret
}

// swap puts another file in the place of one for a while.
func swap(t *testing.T, path string, make func() error, try func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(path, path+".own"))
	must(make())
	try()
	must(os.RemoveAll(path))
	must(os.Rename(path+".own", path))
}

// alike makes a file that is as another is, but for what is said, and its inode.
func alike(path, like, content string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(path, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

// TestHiddenFile: a file that was granted lies in a directory that the caller may not enter. It is opened all the same, if it is the one
// that was dumped and holds what it did; and a restore that fails because it is not has used up nothing of an image that is for once.
func TestHiddenFile(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	j, secret := o.keeper()
	vault := filepath.Dir(secret)
	image := o.signed(j, o.key, "--once")
	rule := strings.NewReplacer(`uids = ["root"]`, `files = [{ tree = "/var/lib/vault", mode = "r" }]`, "replay = true\n", "").Replace(asRoot)
	refused := func(code int, words ...string) {
		t.Helper()
		refusal(t, o.run(harness.Alice, o.suid, "--detach", image), code, words...)
		if j.left() {
			t.Fatal("something is left")
		}
	}
	o.etc("policy.toml", strings.Replace(rule, "/var/lib/vault", "/var/other", 1))
	refused(cli.Refused, "file:/var/lib/vault/secret:r", "file:/var/lib/vault/room:x")
	o.etc("policy.toml", rule)

	swap(t, secret, func() error { return alike(secret, secret+".own", "root's") }, func() {
		refused(cli.HostDiffers, "/var/lib/vault/secret", "another file than at the dump")
	})
	swap(t, secret, func() error { return os.Symlink("/etc/shadow", secret) }, func() {
		refused(cli.HostDiffers, "/var/lib/vault/secret", "another file than at the dump")
	})
	swap(t, vault, func() error { return os.Symlink("vault.own", vault) }, func() {
		refused(cli.HostDiffers, "symbolic link is on the way")
	})
	if err := os.Link(secret, secret+".too"); err != nil {
		t.Fatal(err)
	}
	refused(cli.HostDiffers, "2 names")
	os.Remove(secret + ".too")
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	hold := func(content string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(secret, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	hold("rootS!")
	refused(cli.HostDiffers, "/var/lib/vault/secret", "content sha256:")
	hold("root's")

	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	for link, want := range map[string]string{"fd/5": "/lib/vault/secret", "cwd": "/lib/vault/room"} {
		if is, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", j.pid, link)); err != nil || !strings.HasSuffix(is, want) {
			t.Errorf("%s leads to %s, %v", link, is, err)
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fd/5", j.pid)); err != nil || !bytes.Equal(b, []byte("root's")) {
		t.Errorf("descriptor 5 gives %q, %v", b, err)
	}
	if got := mayDo(t, j.pid); len(got) != 1 || !got[alone] {
		t.Errorf("it may do %v", got)
	}
	rewind := j.rewinds()
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	rewind()
	refused(cli.Consumed, "already restored")
}

// TestContentNoLonger: a file that the caller can reach but not read is compared by its content too, which no other trace of it shows.
func TestContentNoLonger(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	j, secret := o.keeper()
	if err := os.Chmod(filepath.Dir(secret), 0o755); err != nil {
		t.Fatal(err)
	}
	image := o.signed(j, o.key)
	o.etc("policy.toml", strings.NewReplacer(`uids = ["root"]`, `files = [{ tree = "/var/lib/vault", mode = "r" }]`).Replace(asRoot))
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"rootS!", "root's"} {
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(secret, time.Now(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		res := o.run(harness.Alice, o.suid, "--detach", image)
		if content == "root's" {
			if !res.OK() {
				t.Error(res)
			}
			continue
		}
		refusal(t, res, cli.HostDiffers, "/var/lib/vault/secret", "content sha256:")
		if j.left() {
			t.Fatal("something is left")
		}
	}
}
