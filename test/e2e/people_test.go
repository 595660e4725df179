package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// edit changes a system file of the world's.
func (o *office) edit(name string, change func(string) string) {
	o.t.Helper()
	path := filepath.Join(o.Etc, name)
	b, err := os.ReadFile(path)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(b))), 0o644); err != nil {
		o.t.Fatal(err)
	}
}

func replaced(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

// TestDisabled: a user whose account was locked or removed since the dump is granted nothing and given to nobody, and who has left a
// group since she logged in counts no more as one of its members.
func TestDisabled(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", strings.Replace(grants, `users = ["alice"]`, `groups = ["team"]`, 1))
	o.edit("group", func(s string) string { return s + "team:x:20010:alice\n" })
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	refused := func(what, word string) {
		t.Helper()
		refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, word)
		if j.left() {
			t.Errorf("%s: something is left", what)
		}
	}

	o.edit("group", replaced("team:x:20010:alice", "team:x:20010:"))
	refused("she left the group", "none of its callers")
	o.edit("group", replaced("team:x:20010:", "team:x:20010:alice"))

	const eve, alice = "eve:$6$", "alice:$6$"
	o.edit("shadow", replaced(eve, "eve:!$6$"))
	refused("she would become somebody who is locked out", "the account of eve is disabled")
	o.edit("shadow", replaced("eve:!$6$", eve))
	o.edit("shadow", replaced(alice, "alice:!$6$"))
	refused("she is locked out herself", "the account of alice is disabled")
	o.edit("shadow", replaced("alice:!$6$", alice))
	o.edit("shadow", replaced("alice:$6$test$test:20000:0:99999:7:::", "alice:$6$test$test:20000:0:99999:7::1:"))
	refused("her account has expired", "the account of alice is disabled")
	o.edit("shadow", replaced("alice:$6$test$test:20000:0:99999:7::1:", "alice:$6$test$test:20000:0:99999:7:::"))
	o.edit("passwd", replaced("eve:x:20002:", "eve:x:20003:"))
	refused("the user is gone", "20002")
	o.edit("passwd", replaced("eve:x:20003:", "eve:x:20002:"))

	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}

// TestOtherHost: what an id means on another host only its root knows. An image of another host needs a map, and the policy has to bind
// what the map makes of it for that host: that the numbers are the same says nothing.
func TestOtherHost(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	j := o.begin(harness.Eve, "tiny")
	const there, here = "11111111111111111111111111111111\n", "22222222222222222222222222222222\n"
	o.edit("machine-id", func(string) string { return there })
	image := o.signed(j, o.key)
	o.edit("machine-id", func(string) string { return here })
	refused := func(policy string, code int, word string, args ...string) {
		t.Helper()
		o.etc("policy.toml", policy)
		refusal(t, o.run(harness.Alice, append(append([]string{o.suid, "--detach"}, args...), image)...), code, word)
		if j.left() {
			t.Errorf("%v: something is left", args)
		}
	}
	named := strings.Replace(grants, "replay = true", "replay = true\nhosts = [\"here\", \""+strings.TrimSpace(there)+"\"]", 1)
	bound := strings.NewReplacer(`uids = ["eve"]`, `uids = ["20002 -> eve"]`, `gids = ["eve"]`, `gids = ["20002 -> eve"]`, `groups = ["eve"]`, `groups = ["20002 -> eve"]`).Replace(named)

	refused(bound, cli.HostDiffers, "user 20002")
	refused(bound, cli.HostDiffers, "group 20002", "--uidmap=20002:eve")
	refused(grants, cli.Refused, "a host that it does not name", "--map-rest=identity")
	refused(named, cli.Refused, "uids do not bind user 20002", "--map-rest=identity")
	refused(named, cli.Refused, "uids do not bind user 20002", "--uidmap=20002:eve", "--gidmap=20002:eve")
	refused(bound, cli.Refused, "user 20002 of the image to user 0", "--uidmap=20002:root", "--gidmap=20002:eve")
	refused(strings.Replace(bound, "20002 -> eve", "20003 -> eve", 3), cli.Refused, "do not bind", "--uidmap=20002:eve", "--gidmap=20002:eve")

	// Mapped to herself it is nothing that she could not be, but for the PIDs and what memory is believed.
	refused(strings.Replace(bound, `pids = ["here"]`, "", 1), cli.Refused, "pid:here", "--pids", "--uidmap=20002:alice", "--gidmap=20002:alice")

	o.etc("policy.toml", bound)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", "--uidmap=20002:eve", "--gidmap=20002:eve", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	if got := mayDo(t, j.pid); len(got) != 1 {
		t.Errorf("it may do %v", got)
	} else if _, ok := got[eves]; !ok {
		t.Errorf("it may do %v, not %s", got, eves)
	}
}
