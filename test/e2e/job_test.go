package e2e

import (
	"cmp"
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

// job is a fixture at work.
type job struct {
	t      *testing.T
	pid    int
	status string // its status file
	dir    string // its own directory
	mark   string // in the environment of all its processes
	images int
	still  bool // it maps and opens nothing by itself once it is ready

	restless bool // what /proc shows of it changes all the time; it judges itself
}

func (j *job) keepsStill() *job {
	j.still = true
	return j
}

// patience is how long a fixture may take to its first check or to the next one, on a machine that is busy.
const patience = 30 * time.Second

// begin starts argv with the status file and directory appended, and extra after these, and waits until it is well on its way.
func begin(t *testing.T, argv []string, extra ...string) *job {
	t.Helper()
	return beginWith(t, argv, extra, nil, nil)
}

// beginWith is begin with standard streams that are not nil put in the place of a log file.
func beginWith(t *testing.T, argv, extra []string, stdout, stderr *os.File) *job {
	t.Helper()
	j := newJob(t)
	j.start(append(append(argv, j.status, j.dir), extra...), stdout, stderr)
	return j
}

// newJob makes the places of a job.
func newJob(t *testing.T) *job {
	t.Helper()
	temp := t.TempDir()
	j := &job{t: t, status: filepath.Join(temp, "status"), dir: filepath.Join(temp, "dir"), mark: "CKPT_FIXTURE=" + temp}
	if err := os.Mkdir(j.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return j
}

// start runs argv and waits until it is well on its way.
func (j *job) start(argv []string, stdout, stderr *os.File) {
	t := j.t
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	log, err := os.Create(filepath.Join(filepath.Dir(j.status), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	attr := os.ProcAttr{Dir: "/", Env: append(os.Environ(), j.mark), Files: []*os.File{null, cmp.Or(stdout, log), cmp.Or(stderr, log)}}
	if j.pid, _, err = shared.reaper.Start(argv, attr); err != nil {
		t.Fatal(err)
	}
	if j.pid <= 1 {
		t.Fatalf("the fixture has PID %d", j.pid)
	}
	t.Cleanup(j.end)
	j.reach(3)
}

// fixture starts the C fixture of that name.
func fixture(t *testing.T, name string, extra ...string) *job {
	t.Helper()
	path, err := shared.C(name)
	if err != nil {
		t.Fatal(err)
	}
	return begin(t, []string{path}, extra...)
}

// ours lists the processes anywhere that carry the job's mark.
func (j *job) ours() []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b)+"\x00", j.mark+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// end kills what is left of the job, wherever it is.
func (j *job) end() {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := j.ours()
		if len(left) == 0 || time.Now().After(end) {
			break
		}
		for _, pid := range left {
			_ = harness.Signal(pid, syscall.SIGKILL)
		}
	}
	if log, _ := os.ReadFile(filepath.Join(filepath.Dir(j.status), "log")); j.t.Failed() && len(log) > 0 {
		j.t.Logf("the fixture said: %.300s", log)
	}
}

// progress reads the status file; what the fixture found wrong ends the test.
func (j *job) progress() harness.Progress {
	j.t.Helper()
	p, err := harness.ReadStatus(j.status)
	if err != nil {
		j.t.Fatal(err)
	}
	return p
}

// reach waits until the fixture has checked itself seq times in all.
func (j *job) reach(seq int) {
	j.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		p := j.progress()
		if p.Ready && p.Seq >= seq {
			return
		}
		if time.Now().After(end) {
			j.t.Fatalf("the fixture stands at %d, wanted %d; PID %d: %s", p.Seq, seq, j.pid, harness.State(j.pid))
		}
	}
}

// goesOn waits for n more checks.
func (j *job) goesOn(n int) {
	j.t.Helper()
	j.reach(j.progress().Seq + n)
}

// image names a new image file.
func (j *job) image() string {
	j.images++
	return filepath.Join(filepath.Dir(j.status), fmt.Sprintf("%d.ckpt", j.images))
}

// dumped runs ckpt until it succeeds. A refusal that advises to try again, for a state that passes, is followed.
func (j *job) dumped(args ...string) {
	j.t.Helper()
	res := ckpt(j.t, args...)
	for tries := 0; tries < 50 && res.Code() == cli.Unsupported && strings.Contains(res.Stderr, "try again"); tries++ {
		j.goesOn(1)
		res = ckpt(j.t, args...)
	}
	if !res.OK() {
		j.t.Fatalf("dump: %v", res)
	}
}

// dump writes a signed image and ends the tree.
func (j *job) dump() string {
	j.t.Helper()
	tree := harness.Tree(j.pid)
	image := j.image()
	j.dumped("--sign", "--kill", "-o", image, strconv.Itoa(j.pid))
	if err := harness.WaitGone(5*time.Second, tree...); err != nil {
		j.t.Fatalf("after ckpt --kill: %v", err)
	}
	return image
}

// restore brings the tree back and waits until it goes on.
func (j *job) restore(image string) {
	j.t.Helper()
	was := j.progress().Seq
	if res := rstr(j.t, "--verify", "--detach", image); !res.OK() {
		j.t.Fatalf("restore: %v", res)
	}
	if !harness.Exists(j.pid) {
		j.t.Fatalf("rstr says that all is well and PID %d is not there", j.pid)
	}
	j.reach(was + 2)
}

// facts are what /proc shows of the tree, as far as it keeps still.
func (j *job) facts() harness.Snapshot {
	if j.restless {
		return nil
	}
	return harness.Stable(j.pid, j.status)
}

// unchanged finds all facts again, or tells which are lost.
func (j *job) unchanged(before harness.Snapshot, by string) {
	j.t.Helper()
	if lost := harness.Missing(before, j.pid, j.status, 2*time.Second); len(lost) > 0 {
		j.t.Errorf("changed by %s:\n%.4000s", by, strings.Join(lost, "\n"))
	}
}

// cycle dumps, ends and restores the tree, and compares what /proc shows of it before and after.
func (j *job) cycle() {
	j.t.Helper()
	before := j.facts()
	image := j.dump()
	j.restore(image)
	j.unchanged(before, "a dump and a restore")
	os.Remove(image)
}
