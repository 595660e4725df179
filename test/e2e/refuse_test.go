package e2e

import (
	"errors"
	"fmt"
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

// refusal is a command that must fail with one exit code and with words that say why.
func refusal(t *testing.T, res harness.Result, code int, words ...string) {
	t.Helper()
	if res.Code() != code {
		t.Errorf("exit code %d, not %d: %v", res.Code(), code, res)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(res.Stderr), strings.ToLower(word)) {
			t.Errorf("the message does not say %q: %v", word, res)
		}
	}
}

// TestPIDs: each PID that cannot be dumped has a message of its own.
func TestPIDs(t *testing.T) {
	t.Parallel()
	j := fixture(t, "threads")
	thread := strconv.Itoa(harness.Threads(j.pid)[3])
	out := filepath.Join(t.TempDir(), "image")
	said := map[string]string{}
	codes := map[string]int{
		"absent": cli.NoProcess, "thread": cli.NoProcess, "ancestor": cli.NotAllowed, "init": cli.NotAllowed,
		"negative": cli.Usage, "zero": cli.Usage, "word": cli.Usage, "empty": cli.Usage, "huge": cli.Usage,
	}
	for name, pid := range map[string]string{
		"absent": "32767000", "thread": thread, "ancestor": strconv.Itoa(os.Getpid()), "init": "1",
		"negative": "-5", "zero": "0", "word": "abc", "empty": "", "huge": "99999999999999999999",
	} {
		res := ckpt(t, "--sign", "-o", out, "--", pid)
		refusal(t, res, codes[name], "ckpt: ")
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%s: an image was written: %v", name, res)
		}
		first, _, _ := strings.Cut(strings.ReplaceAll(res.Stderr, pid, "N"), "\n")
		said[name] = first
	}
	for _, a := range []string{"absent", "thread", "ancestor", "word"} {
		for _, b := range []string{"absent", "thread", "ancestor", "word"} {
			if a < b && said[a] == said[b] {
				t.Errorf("%s and %s have one message: %s", a, b, said[a])
			}
		}
	}
	if !strings.Contains(said["thread"], "thread") || !strings.Contains(said["ancestor"], "ancestor") {
		t.Errorf("messages: %q, %q", said["thread"], said["ancestor"])
	}
	j.goesOn(2)
}

// TestItself: ckpt that is told its own PID.
func TestItself(t *testing.T) {
	t.Parallel()
	line := "exec " + shared.tool("ckpt") + " --sign -o " + filepath.Join(t.TempDir(), "image") + " $$"
	refusal(t, runs(t, harness.Command{Argv: []string{"/bin/sh", "-c", line}}), cli.NotAllowed, "itself")
}

// TestOthersProcess: an ordinary user may not dump what is root's, nor what is another user's.
func TestOthersProcess(t *testing.T) {
	t.Parallel()
	j := fixture(t, "counter")
	dir := t.TempDir()
	reachable(t, dir, shared.Bin)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	res := runs(t, harness.Command{
		Argv: []string{"/usr/bin/setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
			shared.tool("ckpt"), "-o", dir + "/image", strconv.Itoa(j.pid)},
		Env: []string{"HOME=" + dir, "PATH=/usr/bin:/bin"},
	})
	refusal(t, res, cli.NotAllowed, "ckpt: ")
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
	j.goesOn(3)
}

// TestPIDInUse: the message names the program that has the PID.
func TestPIDInUse(t *testing.T) {
	t.Parallel()
	j := fixture(t, "counter")
	image := j.image()
	if res := ckpt(t, "--sign", "-o", image, strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	res, err := once(harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", image}})
	if err != nil {
		t.Fatal(err)
	}
	refusal(t, res, cli.HostDiffers, strconv.Itoa(j.pid), "counter")
	j.goesOn(3)
	if n := len(j.ours()); n != 1 {
		t.Errorf("%d processes of the job", n)
	}
}

// TestChangedFile: an open file that was written to, replaced or removed since is named, with what changed.
func TestChangedFile(t *testing.T) {
	t.Parallel()
	j := fixture(t, "file_regular")
	image := j.dump()
	path := filepath.Join(j.dir, "rw")
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(was, "more"...), 0o600); err != nil {
		t.Fatal(err)
	}
	refusal(t, rstr(t, "--verify", "--detach", image), cli.HostDiffers, path, "size")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	refusal(t, rstr(t, "--verify", "--detach", image), cli.HostDiffers, path)
	if harness.Exists(j.pid) {
		t.Fatalf("refused, and yet PID %d is there", j.pid)
	}
	// As it was, it is accepted.
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	j.restore(image)
}

// TestUnsupportedListed: all that cannot be dumped is named in one go, nothing is written, and the target goes on.
func TestUnsupportedListed(t *testing.T) {
	t.Parallel()
	j := begin(t, script(t, "unsupported.py", "python3"))
	image := j.image()
	res := ckpt(t, "--sign", "--kill", "-o", image, strconv.Itoa(j.pid))
	refusal(t, res, cli.Unsupported, "tcp", "netlink")
	if _, err := os.Stat(image); err == nil {
		t.Error("an image was written")
	}
	j.goesOn(5)
	if !harness.Exists(j.pid) {
		t.Error("it was killed after a dump that failed")
	}
}

// TestChangedLink: a symbolic link that is held by O_PATH and leads elsewhere since is named, with both targets.
func TestChangedLink(t *testing.T) {
	t.Parallel()
	j := fixture(t, "file_link")
	image := j.dump()
	path := filepath.Join(j.dir, "link")
	if err := errors.Join(os.Remove(path), os.Symlink("/nowhere/at/all/now", path)); err != nil {
		t.Fatal(err)
	}
	refusal(t, rstr(t, "--verify", "--detach", image), cli.HostDiffers, path, `target "/nowhere/at/all" -> "/nowhere/at/all/`)
	if err := errors.Join(os.Remove(path), os.Symlink("/nowhere/at/all", path)); err != nil {
		t.Fatal(err)
	}
	j.restore(image)
}

// TestUserDispatch: a thread in which no system call can be made is refused by name, also if it is not the first.
func TestUserDispatch(t *testing.T) {
	t.Parallel()
	j := fixture(t, "unsupported_dispatch")
	thread, child := harness.Threads(j.pid)[1], harness.Tree(j.pid)[1]
	refusal(t, ckpt(t, "--sign", "--kill", "-o", j.image(), strconv.Itoa(j.pid)), cli.Unsupported,
		fmt.Sprintf("thread %d of process %d (unsupported_dis)", thread, j.pid), fmt.Sprintf("process %d (unsupported_dis)", child), "PR_SET_SYSCALL_USER_DISPATCH")
	j.goesOn(3)
}

// TestTerminalInside: the master of a pseudoterminal is refused by name, with what to do instead.
func TestTerminalInside(t *testing.T) {
	t.Parallel()
	j := fixture(t, "unsupported_pty")
	refusal(t, ckpt(t, "--sign", "--kill", "-o", j.image(), strconv.Itoa(j.pid)), cli.Unsupported,
		fmt.Sprintf("of process %d (unsupported_pty)", j.pid), "the master of a pseudoterminal", "hint: checkpoint the program that runs inside")
	j.goesOn(3)
}

// TestSharedOutside: what a process above the tree has as well is refused, each by name; where that process is part of the tree it is not.
func TestSharedOutside(t *testing.T) {
	t.Parallel()
	j := fixture(t, "unsupported_outside")
	child := harness.Tree(j.pid)[1]
	res := ckpt(t, "--sign", "--kill", "-o", j.image(), strconv.Itoa(child))
	refusal(t, res, cli.Unsupported, "pipe:[", "socket:[", "anon_inode:[eventfd]", "/dev/zero", "of 6 objects",
		fmt.Sprintf("process %d (unsupported_out), outside of the tree, has it too", j.pid))
	j.goesOn(2)
	j.cycle()
	j.goesOn(2)
}

// TestUsage: a command line without sense is met with its own exit code and advice.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--no-such-option", "1"}, {"1", "2"}, {"--kill", "--stop", "1"}} {
		refusal(t, ckpt(t, args...), cli.Usage, "ckpt: ")
	}
	for _, args := range [][]string{{"--no-such-option"}, {"a", "b"}, {"--wait", "--detach", "a"}} {
		refusal(t, rstr(t, args...), cli.Usage, "rstr: ")
	}
	refusal(t, rstr(t, "/nonexistent/image"), cli.Failure, "rstr: ", "/nonexistent/image")
}

// TestStop: --stop leaves the tree stopped, and SIGCONT lets it go on.
func TestStop(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tree")
	if res := ckpt(t, "--sign", "--stop", "-o", j.image(), strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	tree := harness.Tree(j.pid)
	was := j.progress().Seq
	time.Sleep(100 * time.Millisecond)
	if now := j.progress().Seq; now != was {
		t.Errorf("stopped, and it went on from %d to %d", was, now)
	}
	for _, pid := range tree {
		if state := harness.State(pid); !strings.Contains(state, "State T") && !strings.Contains(state, "State Z") {
			t.Errorf("PID %d: %s", pid, state)
		}
		_ = harness.Signal(pid, syscall.SIGCONT)
	}
	j.goesOn(3)
}

// TestWait: without --detach rstr stays the parent and ends when the tree does; --copy-status makes its status rstr's own.
func TestWait(t *testing.T) {
	t.Parallel()
	j := fixture(t, "counter")
	image := j.dump()
	was := j.progress().Seq
	ended := make(chan harness.Result, 1)
	go func() {
		res, err := lucky(harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--copy-status", image}})
		if err != nil {
			t.Error(err)
		}
		ended <- res
	}()
	j.reach(was + 5)
	select {
	case res := <-ended:
		t.Fatalf("rstr did not wait: %v", res)
	default:
	}
	if err := harness.Signal(j.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case res := <-ended:
		if res.OK() || res.Code() != 128+int(syscall.SIGTERM) && (res.Status.Exited() || res.Status.Signal() != syscall.SIGTERM) {
			t.Errorf("the tree ended by SIGTERM: %v", res)
		}
	case <-time.After(patience):
		t.Fatal("the tree has ended and rstr waits on")
	}
}

// TestNoNumberHere: an id that ckpt's user namespace has no number for looks like nobody's in there, and is not recorded as that.
func TestNoNumberHere(t *testing.T) {
	t.Parallel()
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	for groups, refused := range map[string]bool{"0": false, "0,20010": true} {
		j := newJob(t)
		j.start([]string{"/usr/bin/setpriv", "--groups", groups, "/usr/bin/unshare", "--user", "--map-root-user", from, j.status, j.dir}, nil, nil)
		image := j.image()
		res := runs(t, harness.Command{Argv: []string{"/usr/bin/nsenter", "--user", "--preserve-credentials", "--target", strconv.Itoa(j.pid), "--",
			shared.tool("ckpt"), "-o", image, strconv.Itoa(j.pid)}})
		if !refused && !res.OK() {
			t.Errorf("groups %s: %v", groups, res)
		}
		if refused {
			refusal(t, res, cli.Unsupported, "no number in ckpt's user namespace")
		}
	}
}
