package e2e

import (
	"fmt"
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

// statusLine is a line of /proc/PID/status.
func statusLine(t *testing.T, pid int, name string) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			return strings.Fields(value)
		}
	}
	return nil
}

// within are the numbers that the processes of a tree have in their own PID namespace.
func within(t *testing.T, root int) []string {
	t.Helper()
	var out []string
	for _, pid := range harness.Tree(root) {
		n := statusLine(t, pid, "NSpid")
		out = append(out, n[len(n)-1])
	}
	return out
}

// TestPIDNamespaceOfUser: in a PID namespace of their own a user's programs have the PIDs that they had, all of them, and nobody's right was
// asked for. The programs compare these and all that names them.
func TestPIDNamespaceOfUser(t *testing.T) {
	for _, name := range []string{"threads", "tree", "timers_posix", "pidfd", "renumber", "mem_shared", "sig_pending", "signalfd", "robust", "cleartid", "file_owner",
		"sock_pair", "file_locks", "pipes", "epoll"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := userJob(t, name)
			var was []string
			for _, pid := range harness.Tree(j.pid) {
				was = append(was, strconv.Itoa(pid))
			}
			j.restoreAs(j.userImage(), "--pidns")
			j.goesOn(5)
			if is := within(t, j.pid); !slices.Equal(is, was) {
				t.Errorf("inside it has the PIDs %v, not %v", is, was)
			}
			if caps := statusLine(t, j.pid, "CapPrm"); caps[0] != "0000000000000000" {
				t.Errorf("it has capabilities in its namespace: %v", caps)
			}
		})
	}
}

// TestPIDNamespaceOfRoot needs no user namespace.
func TestPIDNamespaceOfRoot(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tree")
	was := strconv.Itoa(j.pid)
	before, seq := j.facts(), j.progress().Seq
	res := rstr(t, "--verify", "--detach", "-v", "--pidns", j.dump())
	m := rootPID.FindStringSubmatch(res.Stderr)
	if !res.OK() || m == nil {
		t.Fatal(res)
	}
	j.pid, _ = strconv.Atoi(m[1])
	j.reach(seq + 5)
	if is := within(t, j.pid); is[0] != was {
		t.Errorf("inside it has the PID %s, not %s", is[0], was)
	}
	if is, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", j.pid)); is != before[was+"/ns/user"] {
		t.Errorf("its user namespace is %s, not %s", is, before[was+"/ns/user"])
	}
}

// TestLowPIDs: a tree whose numbers are those that the init itself would have.
func TestLowPIDs(t *testing.T) {
	t.Parallel()
	tiny, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	image := j.image()
	script := fmt.Sprintf(`%[1]s %[2]s %[3]s </dev/null >/dev/null 2>&1 &
		while ! grep -q "seq 3" %[2]s; do sleep 0.01; done
		%[4]s --sign --kill -o %[5]s $!; wait; exit 0`, tiny, j.status, j.dir, shared.tool("ckpt"), image)
	t.Cleanup(j.end)
	res := runs(t, harness.Command{Argv: []string{"/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c", script}, Env: append(slices.Clone(shared.env), j.mark)})
	if !res.OK() {
		t.Fatal(res)
	}
	was := j.progress().Seq
	res = rstr(t, "--verify", "--detach", "-v", "--pidns", image)
	m := rootPID.FindStringSubmatch(res.Stderr)
	if !res.OK() || m == nil {
		t.Fatal(res)
	}
	j.pid, _ = strconv.Atoi(m[1])
	j.reach(was + 3)
	if is := within(t, j.pid); len(is) != 1 || len(is[0]) > 2 {
		t.Errorf("inside it has the PID %v", is)
	}
}

// TestInit: rstr stays, hands signals on to the tree's root and ends as that does, and whatever else of the tree dies is reaped.
func TestInit(t *testing.T) {
	t.Parallel()
	j := userProgram(t, []string{"/bin/sh", "-c", `trap 'exit 42' TERM
		(sleep 0.2 & ) 
		echo ready > "$0"
		n=0; while :; do n=$((n+1)); echo seq $n >> "$0"; sleep 0.05; done`})
	image := j.userImage()
	home := filepath.Dir(j.status)
	argv := asUser([]string{shared.tool("rstr"), "--pidns", "--copy-status", image})
	pid, done, err := shared.reaper.Start(argv, os.ProcAttr{Dir: "/", Env: []string{"HOME=" + home}, Files: []*os.File{nil, nil, nil}})
	if err != nil {
		t.Fatal(err)
	}
	j.goesOn(20)
	for _, child := range harness.Tree(pid) {
		if state := statusField(t, child, "State"); strings.HasPrefix(state, "Z") {
			t.Errorf("process %d is dead and nobody reaps it", child)
		}
	}
	inside := harness.Tree(pid)[1]
	if err := harness.Signal(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case end := <-done:
		if end.ExitStatus() != 42 {
			t.Errorf("rstr ended with %v, not as the tree's root", end.WaitStatus)
		}
	case <-time.After(patience):
		t.Fatal("rstr does not end")
	}
	if err := harness.WaitGone(5*time.Second, inside); err != nil {
		t.Errorf("the init is left: %v", err)
	}
}

// TestCoveredProc: where no /proc can be mounted, as in a container that covers a part of it, the user is told so, and unless she wants just
// this gets her tree with other PIDs.
func TestCoveredProc(t *testing.T) {
	t.Parallel()
	j := userJob(t, "counter")
	image := j.userImage()
	covered := func(args ...string) harness.Result {
		argv := asUser(append([]string{shared.tool("rstr")}, args...))
		script := `mount --make-rprivate / && mount -t tmpfs none /proc/tty && exec "$@"`
		return runs(t, harness.Command{Argv: append([]string{"/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"}, argv...),
			Env: []string{"HOME=" + filepath.Dir(j.status), "PATH=/usr/bin:/bin:/usr/sbin:/sbin"}})
	}
	res := covered("--pidns", "--detach", image)
	if res.Code() != cli.HostDiffers || !strings.Contains(res.Stderr, "/proc") || !strings.Contains(res.Stderr, "--no-pids") {
		t.Errorf("%v", res)
	}
	if res = covered("--pidns", "--plan", "--json", image); res.Code() != cli.HostDiffers || planOf(t, res).OK || !strings.Contains(res.Stdout, "/proc") {
		t.Errorf("its plan: %v", res)
	}
	if res = covered("--plan", "--json", image); !res.OK() || !strings.Contains(res.Stdout, `"pids": "none"`) || !strings.Contains(res.Stdout, "pids_since") {
		t.Errorf("the plan of what comes instead: %v", res)
	}
	was := j.progress().Seq
	if res = covered("--detach", "-v", image); !res.OK() || !strings.Contains(res.Stderr, "PIDs: none") {
		t.Fatalf("%v", res)
	}
	j.reach(was + 2)
}

// TestFromInside: a tree in a namespace of its own can be dumped again, from inside, and goes on in another one.
func TestFromInside(t *testing.T) {
	t.Parallel()
	j := userJob(t, "threads")
	was := strconv.Itoa(j.pid)
	home := filepath.Dir(j.status)
	j.restoreAs(j.userImage(), "--pidns")
	image := j.image()
	tree := harness.Tree(j.pid)
	argv := asUser([]string{"/usr/bin/nsenter", "-t", strconv.Itoa(j.pid), "-U", "-m", "-p", "--preserve-credentials", "--wdns=" + home,
		shared.tool("ckpt"), "--kill", "-o", image, was})
	if res := runs(t, harness.Command{Argv: argv, Env: []string{"HOME=" + home, "PATH=/usr/bin:/bin"}}); !res.OK() {
		t.Fatal(res)
	}
	if err := harness.WaitGone(5*time.Second, tree...); err != nil {
		t.Fatal(err)
	}
	j.restoreAs(image, "--pidns")
	j.goesOn(3)
	if is := within(t, j.pid); is[0] != was {
		t.Errorf("inside it has the PID %s, not %s", is[0], was)
	}
}

// TestMemberInside: who is a member of groups that a user namespace of hers has no numbers for has them in there all the same, and what is
// read back of them is no obstacle.
func TestMemberInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.begin(harness.Alice, "sig_pending")
	image := w.dump(harness.Superuser, j)
	was := j.progress().Seq
	res := w.run(harness.Alice, w.rstr("rstr", 0o755), "--pidns", "--detach", image)
	if !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}
