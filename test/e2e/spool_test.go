package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"maps"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// pausable lets alice dump and restore two set-user-id programs of the administrator's list.
const pausable = `version = 1
[[dump]]
name = "listed"
users = ["alice"]
of = ["alice"]
programs = ["BIN/suid-counter", "BIN/suid-threads"]
`

// TestPausedSetuid is Hallyn's case: a user runs a set-user-id program, has it written into the spool, and back with the rights that it had. The
// kernel would let her do none of it; the administrator's list of programs, the host's signature and the policy do. Whatever is not as it was
// signed and listed is refused.
func TestPausedSetuid(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	tool, plain := o.install("ckpt", "ckpt-suid", 0o755|os.ModeSetuid), o.install("ckpt", "ckpt", 0o755)
	if res := o.run(harness.Superuser, plain, "keygen", "--host"); !res.OK() {
		t.Fatal(res)
	}
	restore := strings.NewReplacer("ops@test", "here.test", `"operator"]`, `"host"]`+"\nprograms = [\"BIN/suid-counter\", \"BIN/suid-threads\"]", "version = 1\n", "", "replay = true\n", "").Replace(asRoot)
	restore = strings.ReplaceAll(restore, "BIN", o.Bin)
	o.etc("policy.toml", strings.ReplaceAll(pausable, "BIN", o.Bin)+restore)
	for _, name := range []string{"counter", "threads"} {
		t.Run(name, func(t *testing.T) {
			o := &office{&world{o.World, t}, o.key, o.suid}
			o.pause(tool, plain, name)
			o.changed(tool, name)
		})
	}
	t.Run("not listed", func(t *testing.T) {
		o := &office{&world{o.World, t}, o.key, o.suid}
		j := o.setuid("tree")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "suid-tree", "none of its programs")
		eves := o.begin(harness.Eve, "counter")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(eves.pid)), cli.Refused, "whose processes it does not name")
		o.etc("policy.toml", strings.ReplaceAll(pausable, "programs", "#")+restore)
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "lists no programs")
		o.etc("policy.toml", "version = 1\n")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "no dump rule")
		refusal(t, o.run(harness.Alice, plain, "--spool", "--kill", strconv.Itoa(j.pid)), cli.NotAllowed, "set-user-id root")
		refusal(t, o.run(harness.Alice, tool, "--spool", strconv.Itoa(j.pid)), cli.Usage, "--kill")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", "-o", "/tmp/x", strconv.Itoa(j.pid)), cli.Usage, "--spool")
		j.goesOn(2)
		eves.goesOn(2)
	})
}

func (o *office) pause(tool, plain, name string) {
	t := o.t
	j := o.setuid(name)
	pid := strconv.Itoa(j.pid)
	may := mayDo(t, j.pid)
	for _, ckpt := range []string{plain, tool} {
		refusal(t, o.run(harness.Alice, ckpt, "--kill", "-o", filepath.Join(filepath.Dir(j.status), "hers"), pid), cli.NotAllowed, "with the rights of user root")
	}
	j.goesOn(2)
	tree := harness.Tree(j.pid)
	res := o.run(harness.Alice, tool, "--spool", "--kill", pid)
	in := strings.TrimSpace(res.Stdout)
	if !res.OK() || !strings.HasPrefix(in, "spool:"+strconv.Itoa(harness.Alice.ID)+"-") {
		t.Fatal(res)
	}
	if err := harness.WaitGone(patience, tree...); err != nil {
		t.Fatal(err)
	}
	file := "/var/lib/ckpt/spool/" + strings.TrimPrefix(in, "spool:")
	if res := o.run(harness.Alice, "/bin/cat", file); res.OK() || res.Stdout != "" {
		t.Errorf("alice can read the image: %.200v", res)
	}
	// Who is not its caller, has no authority lent, or wants others' rights by it.
	refusal(t, o.run(harness.Eve, o.suid, "--detach", in), cli.NotAllowed, "somebody else")
	if res := o.run(harness.Alice, o.rstr("rstr", 0o755), "--detach", in); res.OK() {
		t.Errorf("a plain rstr: %v", res)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", "--uidmap", "0:20002", in), cli.Refused, "uid:20002")
	o.spoiled(file, in, func(b []byte) []byte { b[len(b)-2000] ^= 1; return b })
	o.spoiled(file, in, func(b []byte) []byte { return b[:len(b)-100] })
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", in); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 3)
	if now := mayDo(t, j.pid); !maps.Equal(now, may) {
		t.Errorf("it may do %v, and did %v", now, may)
	}
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	res = o.run(harness.Alice, o.suid, "--detach", in)
	if res.OK() || !strings.Contains(res.Stderr, "already restored") {
		t.Errorf("a second time: %v", res)
	}
}

// changed: a program that is not set-user-id any more gets nothing back.
func (o *office) changed(tool, name string) {
	t := o.t
	j := o.setuid(name)
	res := o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid))
	if !res.OK() {
		t.Fatal(res)
	}
	in := strings.TrimSpace(res.Stdout)
	program := filepath.Join(o.Bin, "suid-"+name)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", in), cli.HostDiffers, program, "permissions")
	if harness.Exists(j.pid) {
		t.Error("it is there")
	}
}

// spoiled has the image in the spool changed by root for a moment: rstr refuses it.
func (o *office) spoiled(file, name string, change func([]byte) []byte) {
	o.t.Helper()
	path := filepath.Join(o.Var, strings.TrimPrefix(file, "/var"))
	whole, err := os.ReadFile(path)
	if err != nil {
		o.t.Fatal(err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	write(change(append([]byte(nil), whole...)))
	if res := o.run(harness.Alice, o.suid, "--detach", name); res.Code() != cli.BadImage && res.Code() != cli.BadSign {
		o.t.Errorf("a spoiled image: %v", res)
	}
	write(whole)
}
