package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/test/harness"
)

// moments is at how many points of its run a command is killed.
const moments = 300

// spread gives the nth of the moments between 0 and a little beyond the end of a run that takes usual.
func spread(n int, usual time.Duration) time.Duration {
	return time.Duration(n+1) * (usual + usual/5) / moments
}

// usual is the median of five runs' times.
func usual(run func() time.Duration) time.Duration {
	var took []time.Duration
	for range 5 {
		took = append(took, run())
	}
	slices.Sort(took)
	return took[2]
}

// TestCkptKilled kills ckpt at moments spread over its run: the target goes on, unharmed, each time, and what -o names is whole or absent.
func TestCkptKilled(t *testing.T) {
	targets := map[string]func(*testing.T) *job{
		"threads": func(t *testing.T) *job { return fixture(t, "threads").keepsStill() },
		"avx":     func(t *testing.T) *job { return fixture(t, "avx").keepsStill() },
		"java":    func(t *testing.T) *job { return begin(t, java(t, "-XX:+PerfDisableSharedMem")) },
	}
	for name, start := range targets {
		t.Run(name, func(t *testing.T) { killCkpt(t, start(t)) })
	}
}

func killCkpt(t *testing.T, j *job) {
	pid := strconv.Itoa(j.pid)
	whole := usual(func() time.Duration {
		res := ckpt(t, "--sign", "-o", j.image(), pid)
		if !res.OK() {
			t.Fatalf("dump: %v", res)
		}
		return res.Took
	})
	before := harness.Stable(j.pid, j.status)
	killed := 0
	for n := range moments {
		image := j.image()
		res := runs(t, harness.Command{Argv: []string{shared.tool("ckpt"), "--sign", "-o", image, pid}, Kill: spread(n, whole)})
		if res.Code() < 0 {
			killed++
		} else {
			whole = min(whole, res.Took)
		}
		j.unharmed(n)
		wholeOrAbsent(t, image)
	}
	t.Logf("a run takes %v; %d of %d were killed", whole, killed, moments)
	if killed < moments/2 {
		t.Errorf("only %d of %d runs were killed: the moments do not cover the run", killed, moments)
	}
	if j.still {
		j.same(before, killed)
	}
	j.restoreAfterDump()
	if !j.still {
		return
	}
	if more := added(before, harness.Stable(j.pid, j.status)); len(more) > 0 {
		t.Errorf("an image has what killed dumps left:\n%s", strings.Join(more, "\n"))
	}
}

// same compares what /proc shows of a target that changes nothing by itself before and after killed dumps.
func (j *job) same(before harness.Snapshot, killed int) {
	j.t.Helper()
	j.unchanged(before, strconv.Itoa(killed)+" killed dumps")
	// A ckpt that was killed while it was calling in the target cannot unmap the two pieces it called from; they do no harm until the next
	// one does it, and no more than those may stay.
	more := added(before, harness.Stable(j.pid, j.status))
	j.t.Logf("%d killed dumps left %d mappings in the target", killed, len(more))
	for _, what := range more {
		if !strings.Contains(what, "r-xp 00000000 00:00 0") && !strings.Contains(what, "rw-p 00000000 00:00 0") || strings.Contains(what, "/fd ") {
			j.t.Errorf("left in the target by a killed dump: %s", what)
		}
	}
	if len(more) > 2*killed {
		j.t.Errorf("more than one call's mappings a killed dump:\n%s", strings.Join(more, "\n"))
	}
}

// added lists the mappings and descriptors that now has and before has not.
func added(before, now harness.Snapshot) []string {
	var more []string
	for k, v := range now {
		_, had := before[k]
		if !had && (strings.Contains(k, "/maps ") && !strings.HasSuffix(k, " flags") || strings.Contains(k, "/fd ")) {
			more = append(more, k+": "+v)
		}
	}
	slices.Sort(more)
	return more
}

// unharmed: nobody traces it, it is not stopped, and it makes progress.
func (j *job) unharmed(moment int) {
	j.t.Helper()
	j.goesOn(1)
	for _, tid := range harness.Threads(j.pid) {
		state := harness.State(tid)
		if !strings.Contains(state, "TracerPid 0") || strings.Contains(state, "State T") || strings.Contains(state, "State t") {
			j.t.Fatalf("killed at moment %d: thread %d: %s", moment, tid, state)
		}
	}
}

func wholeOrAbsent(t *testing.T, image string) {
	t.Helper()
	if _, err := os.Stat(image); err != nil {
		return
	}
	if res := ckpt(t, "show", image); !res.OK() {
		t.Fatalf("a killed ckpt left part of an image: %v", res)
	}
	os.Remove(image)
}

// TestRstrKilled kills rstr at moments spread over its run: then there is no process of the tree, or there is the whole tree and it goes on.
func TestRstrKilled(t *testing.T) {
	for _, name := range []string{"threads", "tree", "pipes", "sock_listen"} {
		t.Run(name, func(t *testing.T) { killRstr(t, fixture(t, name)) })
	}
}

func killRstr(t *testing.T, j *job) {
	pids := harness.Tree(j.pid)
	before := harness.Stable(j.pid, j.status)
	image, seq := j.dump(), j.progress().Seq
	whole := usual(func() time.Duration {
		j.rewind(seq)
		res := rstr(t, "--verify", "--detach", image)
		if !res.OK() {
			t.Fatalf("restore: %v", res)
		}
		j.reach(seq + 1)
		j.kill(pids)
		return res.Took
	})
	_, err := os.Lstat(filepath.Join(j.dir, "socket"))
	binds := err == nil
	killed, nothing, left := 0, 0, 0
	for n := range moments {
		j.rewind(seq)
		if binds {
			j.deadSocket(n%2 == 0)
		}
		files := listing(t, j.dir)
		res := runs(t, harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", image}, Kill: spread(n, whole)})
		if res.Code() < 0 {
			killed++
		} else {
			whole = min(whole, res.Took)
		}
		if j.nothing(pids) {
			nothing++
		} else {
			left += j.everything(n, pids, before)
			j.kill(pids)
			if binds {
				j.deadSocket(n%2 == 0)
			}
		}
		j.restored(files, n)
	}
	t.Logf("a run takes %v; of %d runs %d were killed, %d left nothing; in the trees that run, %d mappings of rstr's", whole, moments,
		killed, nothing, left)
	if nothing < moments/5 || nothing == moments {
		t.Errorf("%d of %d runs left nothing: the moments do not cover the run", nothing, moments)
	}
}

// deadSocket leaves the file of a socket at which nobody listens, or none, where the fixture binds one.
func (j *job) deadSocket(there bool) {
	j.t.Helper()
	path := filepath.Join(j.dir, "socket")
	os.Remove(path)
	if !there {
		return
	}
	if err := unix.Mknod(path, unix.S_IFSOCK|0o755, 0); err != nil {
		j.t.Fatal(err)
	}
}

// rewind makes the status file say what it said when the image was written.
func (j *job) rewind(seq int) {
	j.t.Helper()
	b, err := os.ReadFile(j.status)
	if err != nil {
		j.t.Fatal(err)
	}
	last := "\nseq " + strconv.Itoa(seq) + "\n"
	at := strings.Index("\n"+string(b), last)
	if at < 0 {
		j.t.Fatalf("the status file has lost its line %d", seq)
	}
	if err := os.Truncate(j.status, int64(at+len(last)-1)); err != nil {
		j.t.Fatal(err)
	}
}

// nothing tells whether no process of the tree is left. A tracee whose tracer was killed needs a moment to die; a tree that shows in whole
// is asked about by everything.
func (j *job) nothing(pids []int) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(pids, harness.Exists) && len(j.ours()) == 0 {
			return true
		}
		if p, err := harness.ReadStatus(j.status); err == nil && p.Seq > 0 && len(harness.Tree(j.pid)) == len(pids) && j.moved() {
			return false
		}
	}
	return false
}

// moved tells whether the status file was written to since it was rewound: a restored tree writes it, a half-built one cannot.
func (j *job) moved() bool {
	was, err := os.Stat(j.status)
	if err != nil {
		return false
	}
	time.Sleep(30 * time.Millisecond)
	now, err := os.Stat(j.status)
	return err == nil && now.Size() > was.Size()
}

// everything: all processes are there with all their threads, and they go on. A rstr that was killed after the commit cannot take the
// pieces that it built the tree from out of it again: how many mappings there are of these is returned.
func (j *job) everything(moment int, pids []int, before harness.Snapshot) int {
	j.t.Helper()
	for _, pid := range pids {
		if !harness.Exists(pid) {
			j.t.Fatalf("killed at moment %d: PID %d is missing; of the tree: %v", moment, pid, harness.Tree(j.pid))
		}
	}
	j.goesOn(2)
	if lost := harness.Missing(before, j.pid, j.status, 2*time.Second); len(lost) > 0 {
		j.t.Fatalf("killed at moment %d: a tree that is not whole:\n%s", moment, strings.Join(lost, "\n"))
	}
	return len(added(before, harness.Take(j.pid, j.status)))
}

func (j *job) kill(pids []int) {
	j.t.Helper()
	if err := harness.KillTree(j.pid); err != nil {
		j.t.Fatal(err)
	}
	if err := harness.WaitGone(patience, pids...); err != nil {
		j.t.Fatal(err)
	}
}

// restored: the files are those of before. An heir of rstr's needs a moment to see to that.
func (j *job) restored(before []string, moment int) {
	j.t.Helper()
	now := listing(j.t, j.dir)
	for end := time.Now().Add(10 * time.Second); !slices.Equal(before, now) && time.Now().Before(end); now = listing(j.t, j.dir) {
		time.Sleep(time.Millisecond)
	}
	if !slices.Equal(before, now) {
		j.t.Fatalf("files before: %v, after moment %d: %v", before, moment, now)
	}
}

// listing names the files of a directory and what is in them.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
