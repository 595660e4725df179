package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// syslog takes the place of the daemon in a world. It tells what it hears.
func (w *world) syslog() func() string {
	w.t.Helper()
	dev := filepath.Join(w.Dir, "dev")
	script := `mkdir "$1" && for d in null zero random urandom tty; do touch "$1/$d" && mount --bind "/dev/$d" "$1/$d" || exit; done && mount --rbind "$1" /dev`
	if res := w.run(harness.Superuser, "/bin/sh", "-c", script, "sh", dev); !res.OK() {
		w.t.Fatal(res)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dev, "log"), Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if err := os.Chmod(filepath.Join(dev, "log"), 0o666); err != nil {
		w.t.Fatal(err)
	}
	return func() string {
		b := make([]byte, 64<<10)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
}

// TestAudit: who got what, or did not, is a line of syslog's and of the log that only root can write; refusals can't flood it; and where
// it can't be written nothing is granted.
func TestAudit(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	heard := o.syslog()
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	log := filepath.Join(o.Var, "log/ckpt.log")
	lines := func() []string {
		b, err := os.ReadFile(log)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}

	refusal(t, o.run(harness.Eve, o.suid, "--detach", image), cli.Refused)
	last := o.lastEntry()
	if last.Result != "refused" || last.Caller != harness.Eve.ID || last.Signer != "ops@test" || !strings.Contains(last.Why, "none of its callers") ||
		!slices.Contains(last.Needs, "group+20002") && !slices.Contains(last.Needs, "pid:here") {
		t.Errorf("the log says %+v", last)
	}
	if s := heard(); !strings.HasPrefix(s, "<84>rstr[") || !strings.HasSuffix(s, lines()[0]) {
		t.Errorf("syslog heard %q, and the log says %q", s, lines())
	}
	if info, err := os.Stat(log); err != nil || info.Mode().Perm()&0o027 != 0 {
		t.Errorf("the log: %v, %v", info.Mode(), err)
	}
	for range 14 {
		refusal(t, o.run(harness.Eve, o.suid, "--detach", image), cli.Refused)
	}
	if n := len(lines()); n != 10 || !strings.Contains(lines()[9], "more refusals") {
		t.Errorf("after 15 refusals in a row the log has %d lines: %s", n, lines()[n-1])
	}

	for what, spoil := range map[string]func(){
		"a directory":           func() { _ = os.Rename(log, log+".1"); _ = os.Mkdir(log, 0o755) },
		"writable by all":       func() { _ = os.WriteFile(log, nil, 0o600); _ = os.Chmod(log, 0o622) },
		"somebody else's":       func() { _ = os.WriteFile(log, nil, 0o600); _ = os.Chown(log, harness.Alice.ID, 0) },
		"a link":                func() { _ = os.Symlink("/etc/ckpt/x", log) },
		"a pipe without reader": func() { mkfifo(t, log) },
	} {
		_ = os.RemoveAll(log)
		spoil()
		if res := o.run(harness.Alice, o.suid, "--detach", image); res.OK() || !strings.Contains(res.Stderr, "/var/log/ckpt.log") || j.left() {
			t.Errorf("a log that is %s: %v", what, res)
		}
	}
	_ = os.RemoveAll(log)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", "--uidmap=eve:20002", "--gidmap=eve:eve", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	var e map[string]any
	if err := json.Unmarshal([]byte(lines()[0]), &e); err != nil || e["result"] != "granted" || e["caller"] != 20001.0 || e["class"] != "operator" ||
		fmt.Sprint(e["map"]) != "[uid eve:20002 gid eve:eve]" || !strings.HasPrefix(fmt.Sprint(e["key"]), "SHA256:") || !strings.HasPrefix(fmt.Sprint(e["image"]), "sha256:") {
		t.Errorf("the log says %q, %v", lines(), err)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if res := runs(t, harness.Command{Argv: []string{"/usr/bin/mkfifo", "-m", "600", path}}); !res.OK() {
		t.Fatal(res)
	}
}

// TestAuditOfAll: what root restores by her own trust is in the log as well, a line each, before anything is made; and whatever is refused for
// what the image is, by root or by an rstr that is lent authority, and each dump that a policy lets somebody make, or does not.
func TestAuditOfAll(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants+strings.ReplaceAll(strings.Replace(pausable, "version = 1", "", 1), "BIN", o.Bin))
	plain := o.rstr("rstr", 0o755)
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	log := filepath.Join(o.Var, "log/ckpt.log")
	// told are the lines since the last time.
	told := func() (out []map[string]any) {
		t.Helper()
		b, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var e map[string]any
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			out = append(out, e)
		}
		os.Remove(log)
		return out
	}
	one := func(what string, want map[string]any) {
		t.Helper()
		got := told()
		if len(got) != 1 {
			t.Errorf("%s: the log says %v", what, got)
			return
		}
		for k, v := range want {
			if fmt.Sprint(got[0][k]) != fmt.Sprint(v) {
				t.Errorf("%s: the log says %v, not %s %v", what, got[0], k, v)
			}
		}
	}
	told()

	// Root, by her own trust; and not where the log can't be written.
	if err := os.Mkdir(log, 0o755); err != nil {
		t.Fatal(err)
	}
	if res := o.run(harness.Superuser, plain, "--detach", image); res.OK() || !strings.Contains(res.Stderr, "/var/log/ckpt.log") || j.left() {
		t.Errorf("a log that is a directory: %v", res)
	}
	os.Remove(log)
	rewind := j.rewinds()
	was := j.progress().Seq
	if res := o.run(harness.Superuser, plain, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	one("root's own restore", map[string]any{"result": "granted", "caller": 0, "signer": "ops@test", "by": "[root's own trust]"})
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	rewind()

	// What an image is not accepted for.
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-2000] ^= 1
	edited := filepath.Join(filepath.Dir(j.status), "edited")
	if err := os.WriteFile(edited, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, by := range []struct {
		user harness.User
		rstr string
	}{{harness.Superuser, plain}, {harness.Alice, o.suid}} {
		refusal(t, o.run(by.user, by.rstr, "--detach", edited), cli.BadSign)
		one("an edited image", map[string]any{"result": "refused", "caller": by.user.ID, "file": edited})
		o.etc("host", "elsewhere.test\n")
		refusal(t, o.run(by.user, by.rstr, "--detach", image), cli.WrongHost)
		one("another host's", map[string]any{"result": "refused", "caller": by.user.ID})
		o.etc("host", "here.test\n")
	}
	refusal(t, o.run(harness.Superuser, plain, "--detach", o.dump(harness.Superuser, o.begin(harness.Eve, "tiny"))), cli.Refused)
	one("an unsigned image", map[string]any{"result": "unprivileged", "caller": 0})

	o.dumps(one)
}

// dumps has alice dump a program that she may, and one that she may not.
func (o *office) dumps(one func(string, map[string]any)) {
	t := o.t
	t.Helper()
	tool := o.install("ckpt", "ckpt-suid", 0o755|os.ModeSetuid)
	if res := o.run(harness.Superuser, o.install("ckpt", "ckpt", 0o755), "keygen", "--host"); !res.OK() {
		t.Fatal(res)
	}
	j := o.setuid("counter")
	tree := harness.Tree(j.pid)
	if res := o.run(harness.Alice, tool, "--spool", "--kill", fmt.Sprint(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	one("a dump by a rule", map[string]any{"result": "dumped", "caller": harness.Alice.ID, "by": "rule listed", "pid": j.pid, "program": filepath.Join(o.Bin, "suid-counter")})
	if err := harness.WaitGone(patience, tree...); err != nil {
		t.Fatal(err)
	}
	eves := o.begin(harness.Eve, "counter")
	refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", fmt.Sprint(eves.pid)), cli.Refused)
	one("a dump that no rule allows", map[string]any{"result": "refused", "caller": harness.Alice.ID, "pid": eves.pid, "user": harness.Eve.ID})
}
