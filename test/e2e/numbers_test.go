package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// userScript is script for a user, who may have another interpreter and can't read this checkout.
func userScript(t *testing.T, file, interpreter string) []string {
	t.Helper()
	argv := []string{"/usr/bin/env", interpreter}
	if interpreter == "python3" {
		res := runs(t, harness.Command{Argv: asUser(append(argv, "-c", "import sys; print(sys.executable)"))})
		argv = []string{strings.TrimSpace(res.Stdout)}
	}
	text, err := os.ReadFile(filepath.Join(shared.Root, "testdata/fixtures", file))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), file)
	reachable(t, filepath.Dir(copied))
	if err := os.WriteFile(copied, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return append(argv, copied)
}

// userImage is an image that the user has made and can read.
func (j *job) userImage() string {
	j.t.Helper()
	image := j.userDump()
	if err := os.Chown(image, ordinary, ordinary); err != nil {
		j.t.Fatal(err)
	}
	return image
}

// userRstr runs rstr as the ordinary user.
func (j *job) userRstr(capabilities []string, args ...string) harness.Result {
	j.t.Helper()
	return runs(j.t, harness.Command{Argv: asUser(append([]string{shared.tool("rstr")}, args...), capabilities...),
		Env: []string{"HOME=" + filepath.Dir(j.status), "PATH=/usr/bin:/bin"}})
}

var rootPID = regexp.MustCompile(`root (\d+)[ ,]`)

// restoreAs has the user restore the tree, and learns which PID its root has now.
func (j *job) restoreAs(image string, options ...string) {
	j.t.Helper()
	was := j.progress().Seq
	res := j.userRstr(nil, append(options, "--detach", "-v", image)...)
	m := rootPID.FindStringSubmatch(res.Stderr)
	if !res.OK() || m == nil {
		j.t.Fatalf("restore: %v", res)
	}
	j.pid, _ = strconv.Atoi(m[1])
	j.reach(was + 2)
}

// TestRenumbered gives trees of a user other PIDs than they had. The programs find out for themselves whether all that names processes and
// threads agrees with these.
func TestRenumbered(t *testing.T) {
	for _, name := range []string{"renumber", "counter", "pipes", "regs", "mem_shared", "timers_itimer", "timerfd", "mem_many", "stdio"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := userJob(t, name)
			for range 3 {
				was := j.pid
				image := j.userImage()
				j.restoreAs(image, "--no-pids")
				if j.pid == was {
					t.Logf("PID %d was the next one that was free", was)
				}
				os.Remove(image)
			}
			j.goesOn(8)
		})
	}
}

// TestRenumberedPrograms does so with programs of others, as far as they remember no PID.
func TestRenumberedPrograms(t *testing.T) {
	goprog, err := shared.Go()
	if err != nil {
		t.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"python": userScript(t, "prog_python.py", "python3"),
		"go":     {goprog},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := userProgram(t, argv)
			for range 3 {
				j.restoreAs(j.userImage(), "--no-pids")
			}
			j.goesOn(8)
		})
	}
}

// TestExeOfUser: the links /proc/PID/exe lead to the programs, which are two, though nobody had the right to set them.
func TestExeOfUser(t *testing.T) {
	t.Parallel()
	counter, err := shared.C("counter")
	if err != nil {
		t.Fatal(err)
	}
	j := userProgram(t, []string{"/bin/sh", "-c", `"$0" "$@" & wait; exit 1`, counter})
	want := exes(j.pid)
	j.restoreAs(j.userImage(), "--no-pids")
	if is := exes(j.pid); len(want) != 2 || want[0] == want[1] || !slices.Equal(is, want) {
		t.Errorf("they lead to %q, not %q", is, want)
	}
}

// exes is where the links of a tree's processes lead.
func exes(root int) []string {
	var out []string
	for _, pid := range harness.Tree(root) {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		out = append(out, exe)
	}
	return out
}

// TestRenumberedNeverPrivileged: nobody who has other rights than the caller gets another PID, not even by root's own leave.
func TestRenumberedNeverPrivileged(t *testing.T) {
	t.Parallel()
	j := userJob(t, "counter")
	image := j.userImage()
	if res := rstr(t, "--verify", "--detach", "--no-pids", image); res.Code() != cli.Refused {
		t.Errorf("root restored a user's process under another PID: %v", res)
	}
	if left := j.ours(); len(left) > 0 {
		t.Errorf("processes %v are there", left)
	}
	root := fixture(t, "counter")
	moved := filepath.Join(filepath.Dir(j.status), "root.ckpt")
	if err := errors.Join(os.Rename(root.dump(), moved), os.Chown(moved, ordinary, ordinary)); err != nil {
		t.Fatal(err)
	}
	if res := j.userRstr(nil, "--detach", "--no-pids", moved); res.Code() != cli.Refused {
		t.Errorf("a user restored root's process: %v", res)
	}
}

// TestCycled: without any right the numbers come back by making tasks until it is their turn.
func TestCycled(t *testing.T) {
	t.Parallel()
	j := userJob(t, "renumber")
	was := j.pid
	j.restoreAs(j.userImage(), "--pids=cycle")
	j.goesOn(5)
	if j.pid != was {
		t.Errorf("its PID is %d, not %d", j.pid, was)
	}
}

// TestLastPID: the way that kernels have which let nobody choose PIDs by clone3(2).
func TestLastPID(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"threads", "tree"} {
		j := fixture(t, name)
		before, seq := j.facts(), j.progress().Seq
		if res := rstr(t, "--verify", "--detach", "--pids=last-pid", j.dump()); !res.OK() {
			t.Fatal(res)
		}
		j.reach(seq + 3)
		j.unchanged(before, "a restore by ns_last_pid")
	}
}
