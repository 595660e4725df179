package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/test/harness"
)

// realm is a mount namespace with /var/lib and /etc of its own, in which root can have a ledger and a name for the host.
type realm struct {
	t   *testing.T
	pid string
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("set -e; mount -t tmpfs none /var/lib; mount -t tmpfs none %[1]s; mkdir %[1]s/up %[1]s/work; "+
		"mount -t overlay -o lowerdir=/etc,upperdir=%[1]s/up,workdir=%[1]s/work none /etc; mkdir -p /etc/ckpt; mount -t tmpfs none /etc/ckpt; touch /etc/ckpt/ready; exec sleep 1000", dir)
	cmd := exec.Command("unshare", "-m", "sh", "-c", script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r := &realm{t, strconv.Itoa(cmd.Process.Pid)}
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + r.pid + "/root/etc/ckpt/ready"); err == nil {
			return r
		}
		if time.Now().After(end) {
			t.Fatal("no mount namespace of our own")
		}
	}
}

// run runs a command in the realm.
func (r *realm) run(argv ...string) harness.Result {
	r.t.Helper()
	return beside(r.t, r.pid, argv...)
}

// beside runs a command in the mount namespace of a process.
func beside(t *testing.T, pid string, argv ...string) harness.Result {
	t.Helper()
	return runs(t, harness.Command{Argv: append([]string{"/usr/bin/nsenter", "-m", "-t", pid, "--"}, argv...)})
}

func (r *realm) rstr(args ...string) harness.Result {
	r.t.Helper()
	return r.run(append([]string{shared.tool("rstr"), "--verify", "--detach"}, args...)...)
}

// back is a restore that must work. What the job counted since the dump is forgotten with it.
func (r *realm) back(j *job, args ...string) harness.Result {
	r.t.Helper()
	res := r.rstr(args...)
	if !res.OK() || !j.left() {
		r.t.Fatalf("rstr %v: %v; PID %d: %s", args, res, j.pid, harness.State(j.pid))
	}
	return res
}

// restored is a restore that must work, after which the job is killed again.
func (r *realm) restored(j *job, args ...string) harness.Result {
	r.t.Helper()
	res := r.back(j, args...)
	tree := harness.Tree(j.pid)
	j.end()
	if err := harness.WaitGone(patience, tree...); err != nil {
		r.t.Fatal(err)
	}
	return res
}

// refused is a restore that must end with code and say what, and create nothing.
func (r *realm) refused(j *job, code int, what string, args ...string) {
	r.t.Helper()
	res := r.rstr(args...)
	if res.Code() != code || !strings.Contains(res.Stderr, what) {
		r.t.Errorf("rstr %v: want code %d and %q: %v", args, code, what, res)
	}
	if j.left() {
		r.t.Fatalf("rstr %v: refused, and the job is there", args)
	}
}

// made is what ckpt show says of how an image came about.
func made(t *testing.T, image string) map[string]any {
	t.Helper()
	res := ckpt(t, "show", "--json", image)
	var report struct{ Made map[string]any }
	if err := json.Unmarshal([]byte(res.Stdout), &report); err != nil {
		t.Fatalf("%v: %v", err, res)
	}
	return report.Made
}

// last dumps the job for the last time, after which it is gone.
func (r *realm) last(j *job, args ...string) string {
	r.t.Helper()
	image, pid := j.image(), strconv.Itoa(j.pid)
	if res := beside(r.t, pid, append([]string{shared.tool("ckpt"), "--sign", "--kill", "-o", image, pid}, args...)...); !res.OK() {
		r.t.Fatal(res)
	}
	return image
}

// TestOnce: an image that is to be restored once is, on this host, whatever its file is called; --again overrides that, and says so.
func TestOnce(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	image := r.last(j, "--once")
	if made(t, image)["once"] != true {
		t.Errorf("ckpt show: %v", made(t, image))
	}
	r.restored(j, image)
	r.refused(j, cli.Consumed, "already restored", image)
	if res := r.rstr("--plan", image); res.Code() != cli.Consumed || !strings.Contains(res.Stdout, "already restored") {
		t.Errorf("rstr --plan does not foresee it: %v", res)
	}
	copied := j.image()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r.refused(j, cli.Consumed, "rstr --again", copied)
	if res := r.restored(j, "--again", copied); !strings.Contains(res.Stderr, "already restored") || !strings.Contains(res.Stderr, "--again") {
		t.Errorf("the override is not said: %v", res)
	}
	// It is written down as one: the last record of the ledger has its mark (package verify, ledger_codec.go).
	ledger := r.run("/usr/bin/tail", "-c", "60", "/var/lib/ckpt/restored").Stdout
	if len(ledger) != 60 || ledger[0] != 1 {
		t.Errorf("the ledger does not tell of the override: %q", ledger)
	}
	r.back(j, "--again", copied)
	if other := r.last(j); made(t, other)["once"] == true {
		t.Error("an image of the restored tree is to be restored once, too")
	}
}

// TestRollback: serials go up along a lineage, which a restore does not end, and --no-rollback keeps them from going back.
func TestRollback(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	first := j.image()
	if res := ckpt(t, "--sign", "--no-rollback", "-o", first, strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	second := r.last(j, "--no-rollback")
	r.back(j, second)
	third := r.last(j, "--no-rollback")
	for i, image := range []string{first, second, third} {
		m := made(t, image)
		if m["serial"] != float64(i+1) || m["lineage"] != made(t, first)["lineage"] || m["no_rollback"] != true {
			t.Errorf("image %d: %v", i+1, m)
		}
	}
	r.restored(j, third)
	r.restored(j, third) // the same one may come again
	r.refused(j, cli.RolledBack, "serial 2, after 3", second)
	r.refused(j, cli.RolledBack, "serial 1, after 2", first)
	r.restored(j, "--again", first)
	r.refused(j, cli.Consumed, "already restored", "--once", third)

	// --parent holds an image against the one that it must come right behind.
	r.refused(j, cli.WrongImage, "not the image's parent", "--parent="+first, third)
	r.restored(j, "--parent="+second, third)
	// --lineage continues what has no running tree any more.
	other := fixture(t, "tiny")
	image := r.last(other, "--lineage="+third)
	if m := made(t, image); m["serial"] != 4.0 || m["lineage"] != made(t, first)["lineage"] {
		t.Errorf("continued: %v", m)
	}
	if fresh := made(t, r.last(fixture(t, "tiny"))); fresh["serial"] != 1.0 || fresh["lineage"] == made(t, first)["lineage"] {
		t.Errorf("another tree: %v", fresh)
	}
}

// TestParentOfAStranger: the parent is opened with the caller's rights, also where the image is too little trusted for them.
func TestParentOfAStranger(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	key := filepath.Join(t.TempDir(), "key")
	if res := runs(t, harness.Command{Argv: []string{"/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key}}); !res.OK() {
		t.Fatal(res)
	}
	first, second := j.image(), j.image()
	for _, args := range [][]string{{"-o", first}, {"--kill", "-o", second}} {
		if res := ckpt(t, append(args, "--sign="+key, strconv.Itoa(j.pid))...); !res.OK() {
			t.Fatal(res)
		}
	}
	res := r.run(shared.tool("rstr"), "--plan", "--parent="+first, second)
	if res.Code() != cli.Refused || !strings.Contains(res.Stdout+res.Stderr, "uid:0") {
		t.Error(res)
	}
}

// TestDestination: --for names the one host where an image may be restored.
func TestDestination(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	image := r.last(j, "--for=node7")
	if made(t, image)["for"] != "node7" {
		t.Errorf("ckpt show: %v", made(t, image))
	}
	r.refused(j, cli.WrongHost, `for "node7"`, image)
	name := func(text string, mode os.FileMode) {
		path := filepath.Join("/proc", r.pid, "root/etc/ckpt/host")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	name("node70\nnode\n", 0o644)
	r.refused(j, cli.WrongHost, `for "node7"`, image)
	name("node7\n", 0o666)
	r.refused(j, cli.BadSign, "somebody else", image)
	name("# ours\nnode7\n", 0o644)
	r.back(j, image)

	// Alone it means this host, by the name that root wrote down.
	if m := made(t, r.last(j, "--for")); m["for"] != "node7" {
		t.Errorf("--for alone: %v", m)
	}
}

// TestExpiry: an image is of no use after its time.
func TestExpiry(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	image := r.last(j, "--valid-for=2s")
	time.Sleep(3 * time.Second)
	r.refused(j, cli.Expired, "image expired", image)
	if res := ckpt(t, "show", image); res.Code() != cli.Expired || !strings.HasPrefix(res.Stdout, "BAD IMAGE") {
		t.Errorf("ckpt show: %v", res)
	}
	other := fixture(t, "tiny")
	r.restored(other, r.last(other, "--not-after="+time.Now().Add(time.Hour).Format(time.RFC3339)))
}

// TestClockRanBackwards: a ledger whose last entry is of tomorrow lets nothing pass, whatever is asked for.
func TestClockRanBackwards(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	image := r.last(j, "--once")
	ahead := filepath.Join(t.TempDir(), "ahead")
	if err := os.WriteFile(ahead, ledgerOfTomorrow(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := r.run("/bin/sh", "-c", "install -d -m 700 /var/lib/ckpt && install -m 600 "+ahead+" /var/lib/ckpt/restored"); !res.OK() {
		t.Fatal(res)
	}
	r.refused(j, cli.WrongClock, "clock ran backwards", image)
	r.refused(j, cli.WrongClock, "clock ran backwards", "--again", image)
}

// ledgerOfTomorrow has one entry, of an image of no interest.
func ledgerOfTomorrow(t *testing.T) []byte {
	t.Helper()
	l, _, err := verify.ParseLedger(nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.Append(verify.Entry{Manifest: verify.Digest{1}, When: time.Now().Add(24 * time.Hour)}, 0)
}

// TestHostClass: root, and nobody else, signs for the host, with a key that the system's own list trusts for that alone.
func TestHostClass(t *testing.T) {
	t.Parallel()
	r, j := newRealm(t), fixture(t, "tiny")
	pid := strconv.Itoa(j.pid)
	tool := shared.tool("ckpt")
	for _, argv := range [][]string{asUser([]string{tool}), {"/usr/bin/unshare", "-Ur", tool}} {
		refusal(t, runs(t, harness.Command{Argv: append(argv, "--sign", "--class=host", pid), Stdout: os.DevNull}), cli.NotAllowed, "only root signs for the host")
	}
	refusal(t, ckpt(t, "--class=host", "-o", j.image(), pid), cli.Usage, "is for --sign")
	self := j.image()
	if res := ckpt(t, "--sign", "--class=self", "-o", self, pid); !res.OK() {
		t.Fatal(res)
	}
	plain := r.last(j)
	r.refused(j, cli.Refused, "class self is integrity only", self)
	r.back(j, plain)

	if err := os.WriteFile(filepath.Join("/proc", r.pid, "root/etc/ckpt/host"), []byte("node7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refusal(t, r.run(tool, "--sign", "--class=host", "-o", j.image(), pid), cli.Failure, "hint: ckpt keygen --host")
	if res := r.run(tool, "keygen", "--host"); !res.OK() {
		t.Fatal(res)
	}
	trust := r.run("/bin/cat", "/etc/ckpt/allowed_signers").Stdout
	if !strings.HasPrefix(trust, `node7 namespaces="ckpt-image-host@v1" ssh-ed25519 `) {
		t.Errorf("the system's list: %q", trust)
	}
	if modes := r.run("/usr/bin/stat", "-c", "%a", "/etc/ckpt/host_key", "/etc/ckpt/allowed_signers").Stdout; modes != "600\n644\n" {
		t.Errorf("modes: %q", modes)
	}
	image := r.last(j, "--class=host")
	res := r.run(tool, "show", "--json", image)
	for _, want := range []string{`"class": "host"`, `"signer": "node7"`, `"trusted_by": "/etc/ckpt/allowed_signers"`, `"grants": true`} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("ckpt show does not say %s: %v", want, res)
		}
	}
	r.restored(j, image)
}
