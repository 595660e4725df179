package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// asRoot is a rule by which alice gets her set-user-id programs back.
const asRoot = `version = 1
[[restore]]
name = "pausable"
signers = ["ops@test"]
classes = ["operator"]
users = ["alice"]
replay = true
[restore.grant]
uids = ["root"]
caps = [
  "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
  "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot",
  "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease",
  "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read",
  "perfmon", "bpf", "checkpoint_restore",
]
pids = ["here"]
also = ["exe-link", "map-files"]
`

// setuid starts a fixture that is installed set-user-id root as alice.
func (w *world) setuid(name string) *job {
	w.t.Helper()
	from, err := shared.C(name)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Install(from, "suid-"+name, 0o755|os.ModeSetuid, false); err != nil {
		w.t.Fatal(err)
	}
	return w.beginAs(harness.Alice, filepath.Join(w.Bin, "suid-"+name))
}

// ofHerOwn marks what an attacker did to an ordinary process of her own, which has a PID now and then while the tree is not there.
const ofHerOwn = ", of her own"

// attacker has alice attack whoever has a PID, until stop, which tells what succeeded, and how often somebody was there and nobody was.
func (o *office) attacker(pid int) (stop func() (won []string, met, gone int)) {
	o.t.Helper()
	from, err := shared.C("attack_looper")
	if err != nil {
		o.t.Fatal(err)
	}
	looper := filepath.Join(o.Bin, "looper")
	if _, err := os.Stat(looper); err != nil {
		if looper, err = o.Install(from, "looper", 0o755, false); err != nil {
			o.t.Fatal(err)
		}
	}
	out, err := os.CreateTemp(o.t.TempDir(), "attacks")
	if err != nil {
		o.t.Fatal(err)
	}
	self, end, err := shared.reaper.Start(o.As(harness.Alice, looper, strconv.Itoa(pid), "7200000"), os.ProcAttr{Dir: "/", Files: []*os.File{nil, out, out}})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = harness.Signal(self, syscall.SIGKILL) })
	return func() (won []string, met, gone int) {
		o.t.Helper()
		_ = harness.Signal(self, syscall.SIGTERM)
		status := <-end
		defer out.Close()
		said, err := os.ReadFile(out.Name())
		if err != nil || !status.Exited() || status.ExitStatus() != 0 {
			o.t.Fatalf("the attacker: %v, %v: %s", status, err, said)
		}
		for line := range strings.Lines(string(said)) {
			if _, err := fmt.Sscanf(line, "met %d gone %d", &met, &gone); err == nil {
				continue
			}
			what, who, _ := strings.Cut(line, ":")
			how, ok := strings.CutPrefix(what, "won ")
			if own, is := strings.CutPrefix(what, "own "); is && own != "" {
				how, ok = own+ofHerOwn, true
			}
			if !ok {
				o.t.Fatalf("the attacker says %q", line)
			}
			o.t.Logf("%s: %s", how, strings.TrimSpace(who))
			won = append(won, how)
		}
		return won, met, gone
	}
}

// live is what an attacker can do to a process that runs, and has never been dumped.
func (o *office) live(j *job) []string {
	o.t.Helper()
	stop := o.attacker(j.pid)
	j.goesOn(20)
	won, met, _ := stop()
	if met == 0 {
		o.t.Fatal("the attacker has met nobody")
	}
	return won
}

// underAttack restores a job from an image again and again, while alice attacks it; what she can do to it is no more than to one that was never
// dumped, and each time it may do what it did.
func (o *office) underAttack(j *job, image string, may map[string]bool, live []string) {
	t := o.t
	t.Helper()
	rewind := j.rewinds()
	n := attacks(t)
	stop := o.attacker(j.pid)
	for range n {
		rewind()
		if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
			t.Fatal(res)
		}
		if after := mayDo(t, j.pid); !maps.Equal(may, after) {
			t.Errorf("it may do %v, and did %v", after, may)
		}
		j.goesOn(1)
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	won, met, gone := stop()
	for _, how := range won {
		if !slices.Contains(live, how) && !strings.HasSuffix(how, ofHerOwn) {
			t.Errorf("%s succeeded, and does not with one that was never dumped", how)
		}
	}
	if met < n || gone < n {
		t.Errorf("in %d restores the attacker met somebody %d times, and nobody %d times", n, met, gone)
	}
	t.Logf("%d restores attacked %d times: %v", n, met, won)
}

// TestSetuidProgram: a set-user-id program comes back with the effective user that it had, and its real one; and while it is built, and
// afterwards, its caller gets at it no more than at any such program.
func TestSetuidProgram(t *testing.T) {
	o := newOffice(t)
	o.etc("policy.toml", asRoot)
	if won := o.live(o.begin(harness.Alice, "tiny")); !slices.Contains(won, "task mem"+ofHerOwn) || !slices.Contains(won, "ptrace"+ofHerOwn) && !slices.Contains(won, "ptrace") {
		t.Fatalf("against a program of her own she wins only %v", won)
	}
	for _, name := range []string{"tiny", "threads"} {
		j := o.setuid(name)
		before := mayDo(t, j.pid)
		if len(before) != 1 || !strings.HasPrefix(slices.Collect(maps.Keys(before))[0], "Uid 20001 0 0 0;") {
			t.Fatalf("%s, set-user-id, may do %v", name, before)
		}
		live := o.live(j)
		image := o.signed(j, o.key)
		// It may have been caught while it wrote its status, to a file that no rule grants.
		for strings.Contains(o.run(harness.Alice, o.suid, "--plan", image).Stdout, j.status) {
			j = o.setuid(name)
			image = o.signed(j, o.key)
		}
		o.underAttack(j, image, before, live)
	}
}

// TestOthersProgram: to somebody else's program that a policy lets her restore a caller can do nothing at all, from its birth as root's to
// its end.
func TestOthersProgram(t *testing.T) {
	o := newOffice(t)
	o.etc("policy.toml", grants)
	for _, name := range []string{"tiny", "threads"} {
		j := o.begin(harness.Eve, name)
		if won := o.live(j); len(won) > 0 {
			t.Fatalf("to eve's program that runs alice can do %v", won)
		}
		may := mayDo(t, j.pid)
		o.underAttack(j, o.signed(j, o.key), may, nil)
	}
}

// rewinds gives a function that makes the status file what it is now: a job that is restored more than once from one image counts on from
// there each time.
func (j *job) rewinds() func() {
	j.t.Helper()
	was, err := os.ReadFile(j.status)
	if err != nil {
		j.t.Fatal(err)
	}
	return func() {
		j.t.Helper()
		if err := os.WriteFile(j.status, was, 0o600); err != nil {
			j.t.Fatal(err)
		}
	}
}

// attacks is how many restores are attacked: CKPT_ATTACKS, or a few.
func attacks(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("CKPT_ATTACKS"); s != "" {
		return parsed(t, s, strconv.Atoi)
	}
	return 4
}

// TestSecretFile: a descriptor that a program got before it gave up its privilege is opened again, if the policy grants the file, and only
// that very file; the program itself could not open it.
func TestSecretFile(t *testing.T) {
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
	secret := filepath.Join(o.Var, "lib/vault/secret")
	if err := os.Mkdir(filepath.Dir(secret), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	j.givenTo(harness.Alice)
	given := append([]string{"/bin/sh", "-c", `exec 5</var/lib/vault/secret; exec "$@"`, "sh"}, o.As(harness.Alice, path, j.status, j.dir)...)
	// nsenter(1) once more, now as root: the shell is in the world already.
	j.start(o.As(harness.Superuser, given...), nil, nil)
	image := o.signed(j, o.key)
	rule := strings.NewReplacer(`uids = ["root"]`, `files = [{ tree = "/var/lib", mode = "r" }]`).Replace(asRoot)

	o.etc("policy.toml", strings.Replace(rule, "/var/lib", "/var/other", 1))
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "file:/var/lib/vault/secret:r")
	o.etc("policy.toml", rule)
	rewind := j.rewinds()
	restored := func() {
		t.Helper()
		rewind()
		was := j.progress().Seq
		if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
			t.Fatal(res)
		}
		j.reach(was + 2)
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/5", j.pid)); err != nil || !strings.HasSuffix(link, "/lib/vault/secret") {
			t.Errorf("descriptor 5 leads to %s, %v", link, err)
		}
		if got := mayDo(t, j.pid); len(got) != 1 || !got[alone] {
			t.Errorf("it may do %v", got)
		}
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	restored()
	// What lies behind a link is not it, even if all that can be seen of it is alike; nor is a file of two names.
	vault := filepath.Join(o.Var, "lib/vault")
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(o.Etc, "vault"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(o.Etc, "vault/secret")
	if err := os.WriteFile(other, []byte("rootS!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(other, time.Now(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(vault, vault+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/vault", vault); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "file:/etc/vault/secret:r")
	os.Remove(vault)
	if err := os.Rename(vault+".old", vault); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(secret, secret+".too"); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.HostDiffers, "2 names")
	os.Remove(secret + ".too")
	restored()
	// Another file in its place is not the one.
	if err := os.Rename(secret, secret+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/shadow", secret); err != nil {
		t.Fatal(err)
	}
	if res := o.run(harness.Alice, o.suid, "--detach", image); res.OK() || j.left() {
		t.Errorf("a link in the place of the file: %v", res)
	}
	os.Remove(secret)
	if err := os.Rename(secret+".old", secret); err != nil {
		t.Fatal(err)
	}
	restored()
}

// TestSwappedPaths: while somebody swaps a file of hers with a link to one of root's, no restore of hers opens root's.
func TestSwappedPaths(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", strings.Replace(asRoot, `uids = ["root"]`, `files = [{ tree = "/tmp", mode = "rw" }]`, 1))
	j := o.begin(harness.Alice, "tiny")
	image := o.signed(j, o.key)
	log := filepath.Join(filepath.Dir(j.status), "log") // it has that open
	script := `import os, sys, time
log = sys.argv[1]
os.link(log, log + ".own")
end = time.time() + 6
while time.time() < end:
    os.symlink("/etc/shadow", log + ".new")
    os.rename(log + ".new", log)
    os.link(log + ".own", log + ".new")
    os.rename(log + ".new", log)
`
	swapped := make(chan harness.Result, 1)
	go func() {
		res, err := once(harness.Command{Argv: o.As(harness.Alice, "/usr/bin/python3", "-c", script, log)})
		if err != nil {
			t.Error(err)
		}
		swapped <- res
	}()
	codes := map[int]int{}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		res := o.run(harness.Alice, o.suid, "--detach", image)
		if codes[res.Code()]++; !res.OK() {
			continue
		}
		for n := range 3 {
			if link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", j.pid, n)); strings.Contains(link, "shadow") {
				t.Fatalf("descriptor %d leads to %s", n, link)
			}
		}
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	if res := <-swapped; !res.OK() {
		t.Errorf("the swapping: %v", res)
	}
	t.Logf("restores while paths are swapped, by exit code: %v", codes)
	if codes[0] == 0 || len(codes) < 2 {
		t.Errorf("the race was not run: %v", codes)
	}
}
