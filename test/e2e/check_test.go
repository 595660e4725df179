package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/test/harness"
)

// checked is what ckpt check --json says, by names.
func checked(t *testing.T, argv []string) map[string]string {
	t.Helper()
	res := runs(t, harness.Command{Argv: argv, Env: []string{"HOME=/", "PATH=/usr/bin:/bin"}})
	var r struct {
		UID              int
		Rights, Features []struct{ Name, Answer, Why, More string }
	}
	if err := json.Unmarshal([]byte(res.Stdout), &r); err != nil || !res.OK() {
		t.Fatalf("%v: %v", err, res)
	}
	out := map[string]string{}
	for _, a := range append(r.Rights, r.Features...) {
		out[a.Name] = a.Answer
		if a.Answer == "no" && (a.Why == "" || a.More == "") {
			t.Errorf("%s: no, because of %q; to do: %q", a.Name, a.Why, a.More)
		}
	}
	return out
}

// TestCheck: what an ordinary user may do, without a capability, with that to checkpoint and restore alone, and with an rstr that lends it.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	reachable(t, dir, shared.Bin)
	for _, name := range []string{"ckpt", "rstr"} {
		b, err := os.ReadFile(shared.tool(name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{filepath.Join(dir, "ckpt"), "check", "--json"}
	always := map[string]string{"dump-own": "yes", "dump-others": "no", "seccomp": "no", "inotify": "no", "pidns": "yes", "no-pids": "yes",
		"pids-cycle": "yes", "clone3 set_tid": "yes", "PAGEMAP_SCAN": "yes", "PTRACE_O_SUSPEND_SECCOMP": "yes"}
	for _, c := range []struct {
		name         string
		capabilities []string
		lend         bool
		want         map[string]string
	}{
		{"without", nil, false, map[string]string{"map-files": "no", "pids-clone3": "no", "pids-last-pid": "no", "exe-link": "no", "pids-lent": "no"}},
		{"with", []string{"checkpoint_restore"}, false, map[string]string{"map-files": "yes", "pids-clone3": "yes", "pids-last-pid": "yes", "exe-link": "yes", "pids-lent": "no"}},
		{"lent", nil, true, map[string]string{"map-files": "no", "pids-clone3": "no", "pids-lent": "yes"}},
	} {
		if c.lend {
			res := runs(t, harness.Command{Argv: []string{"/usr/sbin/setcap", "cap_checkpoint_restore=ep", filepath.Join(dir, "rstr")}})
			if !res.OK() {
				t.Fatal(res)
			}
		}
		got := checked(t, asUser(argv, c.capabilities...))
		for _, wanted := range []map[string]string{always, c.want} {
			for name, answer := range wanted {
				if got[name] != answer {
					t.Errorf("%s: %s: %q, not %q", c.name, name, got[name], answer)
				}
			}
		}
	}
	// no_new_privs takes away what a program would lend.
	nnp := append([]string{"/usr/bin/setpriv", "--no-new-privs"}, asUser(argv)...)
	if got := checked(t, nnp); got["pids-lent"] != "no" {
		t.Errorf("under no_new_privs: %q", got["pids-lent"])
	}
	res := runs(t, harness.Command{Argv: asUser(argv[:2]), Env: []string{"HOME=/", "PATH=/usr/bin:/bin"}})
	if !strings.Contains(res.Stdout, "setcap cap_checkpoint_restore=ep") || !strings.Contains(res.Stdout, "user 12345") {
		t.Errorf("%v", res)
	}
}
