package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestLinkedTree: what a policy grants for a tree of files it grants for what is in that tree, and not for what a link in it leads to, though
// that looks just like the file that the image has: alice made hers as large and as old as root's.
func TestLinkedTree(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	secret := filepath.Join(o.Var, "lib/secret")
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	dir := filepath.Join(j.dir, "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hers := filepath.Join(dir, "secret")
	if err := os.WriteFile(hers, []byte("alice!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(hers, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	j.givenTo(harness.Alice)
	for _, p := range []string{dir, hers} {
		if err := os.Chown(p, harness.Alice.ID, harness.Alice.ID); err != nil {
			t.Fatal(err)
		}
	}
	j.start(o.As(harness.Alice, "/bin/sh", "-c", `exec 5<"$1"; shift; exec "$@"`, "sh", hers, path, j.status, j.dir), nil, nil)
	image := o.signed(j, o.key)
	o.etc("policy.toml", strings.Replace(asRoot, `uids = ["root"]`, `files = [{ tree = "/tmp", mode = "rw" }]`, 1))

	if err := os.Rename(dir, dir+".own"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/var/lib", dir); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "/var/lib/secret:r")
	if j.left() {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/5", j.pid))
		t.Fatalf("it has %s open", link)
	}

	os.Remove(dir)
	if err := os.Rename(dir+".own", dir); err != nil {
		t.Fatal(err)
	}

	// Root's file under that very name, as by a hard link, is not hers either.
	if err := os.Rename(hers, hers+".own"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hers, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(hers, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "another file is there")
	if j.left() {
		t.Fatal("something is left")
	}
	if err := os.Rename(hers+".own", hers); err != nil {
		t.Fatal(err)
	}
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}
