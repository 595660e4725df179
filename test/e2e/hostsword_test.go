package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestHostsWord goes with real users through all that a host's signature stands for: the key that only root's ckpt has, its one namespace, the
// audience, the caller whose process it was, and the rule that believes it. Each of them is needed.
func TestHostsWord(t *testing.T) {
	t.Parallel()
	o, tool, rules := newSpool(t)
	plain := o.install("ckpt", "ckpt", 0o755)
	j := o.setuid("counter")
	in := o.spooled(tool, j)
	spool := filepath.Join(o.Var, "lib/ckpt/spool")
	path := filepath.Join(spool, strings.TrimPrefix(in, "spool:"))

	// The signature is of this class and no other, for whoever looks.
	dir := t.TempDir()
	for _, part := range []string{"manifest", "signature"} {
		res := o.run(harness.Superuser, plain, "show", "--"+part, "/var/lib/ckpt/spool/"+filepath.Base(path))
		if !res.OK() {
			t.Fatal(res)
		}
		if err := os.WriteFile(filepath.Join(dir, part), []byte(res.Stdout), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for class, want := range map[string]bool{"host": true, "operator": false, "self": false} {
		check := fmt.Sprintf("ssh-keygen -Y verify -f %s -I here.test -n ckpt-image-%s@v1 -s signature <manifest", filepath.Join(o.Etc, "ckpt/allowed_signers"), class)
		if res := runs(t, harness.Command{Argv: []string{"/bin/bash", "-c", check}, Dir: dir}); res.OK() != want {
			t.Errorf("ssh-keygen on class %s: %v", class, res)
		}
	}

	// The host's key is no user's to sign with, nor an option's.
	hers := o.begin(harness.Alice, "tiny")
	pid := strconv.Itoa(hers.pid)
	if res := o.run(harness.Alice, tool, "-o", "/var/tmp/hers", pid); !res.OK() {
		t.Fatal(res)
	}
	for _, ckpt := range []string{plain, tool} {
		refusal(t, o.run(harness.Alice, ckpt, "sign", "-k", "/etc/ckpt/host_key", "/var/tmp/hers"), cli.NotAllowed, "/etc/ckpt/host_key", "permission denied")
		refusal(t, o.run(harness.Alice, ckpt, "--sign=/etc/ckpt/host_key", "-o", "/var/tmp/own", pid), cli.NotAllowed, "permission")
		refusal(t, o.run(harness.Alice, ckpt, "--sign", "--class=host", "-o", "/var/tmp/own", pid), cli.NotAllowed, "only root")
	}

	refused := func(who harness.User, name string, code int, words ...string) {
		t.Helper()
		refusal(t, o.run(who, o.suid, "--detach", name), code, words...)
		if harness.Exists(j.pid) {
			t.Fatal("it is there")
		}
	}
	// A key that may only sign as an operator is no host's, and a rule for operators believes no host.
	signers := filepath.Join(o.Etc, "ckpt/allowed_signers")
	listed, err := os.ReadFile(signers)
	if err != nil {
		t.Fatal(err)
	}
	o.etc("allowed_signers", strings.ReplaceAll(string(listed), "ckpt-image-host@v1", "ckpt-image-operator@v1"))
	refused(harness.Alice, in, cli.Refused, "uid:0", "allowed_signers")
	o.etc("allowed_signers", string(listed))
	o.etc("policy.toml", strings.Replace(rules, `["host"]`, `["operator"]`, 1))
	refused(harness.Alice, in, cli.Refused, "a signature of class host is not among its classes")
	// What is in a program's memory it does not say: the programs must be listed.
	o.etc("policy.toml", strings.Replace(rules, `["host"]`+"\nprograms", `["host"]`+"\n#", 1))
	refused(harness.Alice, in, cli.Refused, "does not vouch for what a program's memory holds")
	other := `["host"]` + "\nprograms = [\"/usr/bin/true\"]\n#"
	o.etc("policy.toml", strings.Replace(rules, `["host"]`+"\nprograms", other, 1))
	refused(harness.Alice, in, cli.Refused, "suid-counter", "none of its programs")
	o.etc("policy.toml", rules)
	// It is this host's word about this host.
	o.etc("host", "elsewhere.test\n")
	refused(harness.Alice, in, cli.WrongHost, "here.test")
	o.etc("host", "here.test\n")
	id, err := os.ReadFile(filepath.Join(o.Etc, "machine-id"))
	if err != nil {
		t.Fatal(err)
	}
	o.edit("machine-id", func(string) string { return "22222222222222222222222222222222\n" })
	refused(harness.Alice, in, cli.HostDiffers, "user")
	o.edit("machine-id", func(string) string { return string(id) })
	// The process was alice's. Somebody else may restore what is her own by that rule, and not this, even where root hands it over.
	o.etc("policy.toml", strings.ReplaceAll(rules, `users = ["alice"]`, `users = ["alice", "eve"]`))
	eves := strings.Replace(filepath.Base(path), "20001-", "20002-", 1)
	if err := os.Link(path, filepath.Join(spool, eves)); err != nil {
		t.Fatal(err)
	}
	refused(harness.Eve, in, cli.NotAllowed, "somebody else")
	refused(harness.Eve, "spool:"+eves, cli.Refused, "20001")

	o.etc("policy.toml", rules)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", in); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	if e := o.lastEntry(); e.Result != "granted" || e.Class != "host" || e.Caller != harness.Alice.ID || strings.Join(e.By, " ") != "rule pausable" {
		t.Errorf("the log says %+v", e)
	}
}
