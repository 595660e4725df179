package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestOnceByPolicy: a rule without replay grants an image that can be restored once, and once.
func TestOnceByPolicy(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", strings.Replace(grants, "replay = true\n", "", 1))
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	refusal(t, o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "replay")

	j = o.begin(harness.Eve, "tiny")
	image = o.signed(j, o.key, "--once")
	rewind := j.rewinds()
	refusal(t, o.run(harness.Alice, o.suid, "--detach", "--again", image), cli.Refused)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	rewind()
	for _, u := range []harness.User{harness.Alice, harness.Superuser} {
		if res := o.run(u, o.suid, "--verify", "--detach", image); res.Code() != cli.Consumed || j.left() {
			t.Errorf("%s restores it a second time: %v", u.Name, res)
		}
	}
	for _, path := range []string{"lib/ckpt", "lib/ckpt/restored"} {
		info, err := os.Stat(filepath.Join(o.Var, path))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is of user %d with mode %v", path, st.Uid, info.Mode())
		}
	}
}

// TestJudgedAgain: a caller can stop rstr after it was judged, but when it goes on it is judged once more, and too late is too late.
func TestJudgedAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	rewind := j.rewinds()
	// stopped restores, and stops rstr when the tree's root is there and still root's.
	stopped := func(meanwhile func()) harness.Result {
		t.Helper()
		for range 100 {
			o.etc("policy.toml", grants)
			os.Remove(filepath.Join(o.Etc, "ckpt/revoked_keys"))
			rewind()
			os.Remove(filepath.Join(o.Var, "tmp/said"))
			var res harness.Result
			done := make(chan struct{})
			pids := make(chan int, 1)
			go func() {
				defer close(done)
				pid, end, err := shared.reaper.Start(o.As(harness.Alice, o.suid, "--detach", "-l", "/var/tmp/said", image), os.ProcAttr{
					Dir: "/", Files: []*os.File{nil, nil, nil}})
				if err != nil {
					t.Error(err)
				}
				pids <- pid
				status := <-end
				res.Status = status.WaitStatus
			}()
			rstr := <-pids
			for !harness.Exists(j.pid) && harness.Exists(rstr) {
			}
			_ = harness.Signal(rstr, syscall.SIGSTOP)
			for end := time.Now().Add(patience); !strings.Contains(harness.State(rstr), "State T") && harness.Exists(rstr) && time.Now().Before(end); {
			}
			if early := mayDo(t, j.pid); len(early) == 1 && !early[eves] {
				meanwhile()
				_ = harness.Signal(rstr, syscall.SIGCONT)
				<-done
				said, _ := os.ReadFile(filepath.Join(o.Var, "tmp/said"))
				res.Stderr = string(said)
				if !res.OK() {
					return res
				}
				// It was stopped between the judgement and what comes right behind it.
				_ = harness.KillTree(j.pid)
				continue
			}
			_ = harness.Signal(rstr, syscall.SIGCONT)
			<-done
			_ = harness.KillTree(j.pid)
		}
		t.Fatal("rstr could not be stopped in time")
		return harness.Result{}
	}
	refusal(t, stopped(func() { o.etc("policy.toml", strings.Replace(grants, `users = ["alice"]`, `users = ["root"]`, 1)) }),
		cli.Refused, "none of its callers")
	if j.left() {
		t.Fatal("something is left")
	}
	o.etc("policy.toml", grants)
	pub, err := os.ReadFile(o.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	refusal(t, stopped(func() { o.etc("revoked_keys", string(pub)) }), cli.BadSign, "revoked")
	if j.left() {
		t.Fatal("something is left")
	}
	os.Remove(filepath.Join(o.Etc, "ckpt/revoked_keys"))
	late := stopped(func() { time.Sleep(31 * time.Second) })
	// Where it was stopped decides what notices first that it is too late: it may have been asking who its caller is, which has a limit of its own.
	switch {
	case strings.Contains(late.Stderr, "does not know the caller"):
		refusal(t, late, cli.Refused)
	case strings.Contains(late.Stderr, "have passed since this restore was judged"), strings.Contains(late.Stderr, "did not stop in time"):
		refusal(t, late, cli.Failure)
	default:
		t.Errorf("after half a minute: %v", late)
	}
	if j.left() {
		t.Fatal("something is left")
	}
}

// TestElevatedKilled: an rstr by a policy that is killed at any moment leaves all of the tree or nothing.
func TestElevatedKilled(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "threads")
	image := o.signed(j, o.key)
	rewind := j.rewinds()
	whole, nothing := 0, 0
	for range 25 {
		rewind()
		delay := 5*time.Millisecond + time.Duration(rand.Int64N(int64(250*time.Millisecond)))
		if _, err := once(harness.Command{Argv: o.As(harness.Alice, o.suid, "--detach", image), Kill: delay, Env: []string{}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if !harness.Exists(j.pid) {
			nothing++
			continue
		}
		whole++
		j.goesOn(2)
		if got := mayDo(t, j.pid); len(got) != 1 || !got[eves] {
			t.Errorf("it may do %v", got)
		}
		if err := harness.KillTree(j.pid); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("of 25 killed restores %d had made the tree, %d nothing", whole, nothing)
}

// TestMapsGrantNothing: whatever a caller maps, she gets what the policy names, and user 0 only if it does.
func TestMapsGrantNothing(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "tiny")
	image := o.signed(j, o.key)
	file := filepath.Join(filepath.Dir(j.status), "map")
	var many strings.Builder
	for n := range 20000 {
		many.WriteString(strconv.Itoa(2*n) + ":" + strconv.Itoa(100000+2*n) + "\n")
	}
	if err := os.WriteFile(file, []byte(many.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".huge", make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, maps := range [][]string{
		{"--uidmap=20002:0"}, {"--uidmap=20002:0:4294967295"}, {"--uidmap=1:0:4294967294"}, {"--uidmap=20002:4294967295"},
		{"--uidmap=20002:18446744073709551616"}, {"--uidmap=20002:-1"}, {"--uidmap=20002:20001", "--uidmap=20002:0"}, {"--uidmap=20002:root"},
		{"--gidmap=20002:0"}, {"--gidmap=20002:shadow"}, {"--uidmap=@" + file}, {"--uidmap=@" + file + ".huge"}, {"--uidmap=@/etc/shadow"},
		{"--uidmap=@/dev/zero"}, {"--uidmap=20002:20001:2", "--gidmap=20002:0"}, {"--map-rest=everything"},
	} {
		res := o.run(harness.Alice, append(append([]string{o.suid, "--detach"}, maps...), image)...)
		if res.OK() || res.Code() != cli.Refused && res.Code() != cli.Usage && res.Code() != cli.HostDiffers && res.Code() != cli.Failure ||
			strings.Contains(res.Stderr, "goroutine ") || strings.Contains(res.Stderr, "$6$") || j.left() {
			t.Errorf("%v: %v", maps, res)
		}
	}
}

// TestCallersSession: a program of somebody else's does not come back in its caller's session, whose terminal it could type into.
func TestCallersSession(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	j.givenTo(harness.Eve)
	j.start(append([]string{"/bin/sh", "-c", `"$@" & wait`, "sh"}, o.As(harness.Eve, path, j.status, j.dir)...), nil, nil)
	shell := j.pid
	j.pid = harness.Tree(shell)[1]
	image := o.signed(j, o.key)
	res := o.run(harness.Alice, o.suid, "--detach", image)
	refusal(t, res, cli.Failure, "session", "terminal")
	if j.left() {
		t.Error("something is left")
	}
}

// TestNothingNeeded: a set-user-id rstr that is granted nothing gives all up and restores what is the caller's own, trusted or not.
func TestNothingNeeded(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	for _, trusted := range []bool{false, true} {
		j := o.begin(harness.Alice, "tiny")
		image := ""
		if trusted {
			image = o.signed(j, o.key)
		} else {
			image = o.dump(harness.Superuser, j)
		}
		was := j.progress().Seq
		pid, _, err := shared.reaper.Start(o.As(harness.Alice, o.suid, "--no-pids", image), os.ProcAttr{Dir: "/", Files: []*os.File{nil, nil, nil}})
		if err != nil {
			t.Fatal(err)
		}
		j.reach(was + 2)
		if got := mayDo(t, pid); len(got) != 1 || !got[alone] {
			t.Errorf("trusted: %v: rstr and what it restored may do %v", trusted, got)
		}
		if err := harness.KillTree(pid); err != nil {
			t.Fatal(err)
		}
	}
}
