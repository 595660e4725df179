package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// TestDemoJVM runs what "make demo-jvm" runs: a java service answers after its restore as before, and no right is left in it. How much
// faster that is than a cold start, the demo says; no test depends on it.
func TestDemoJVM(t *testing.T) {
	res := runs(t, harness.Command{Argv: []string{filepath.Join(shared.Root, "testdata/demo/jvm"), filepath.Dir(shared.tool("ckpt"))},
		Env: append(os.Environ(), "DEMO_PORT="+freePort(t)), Limit: 5 * time.Minute})
	if !res.OK() || !strings.Contains(res.Stdout, "times faster") || !strings.Contains(res.Stdout, "CapEff:\t0000000000000000") {
		t.Errorf("%v", res)
	}
	t.Log(res.Stdout)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}

// site is what an ordinary user finds on a machine: the commands in a directory of their own, nothing set-id, and her own directory.
type site struct {
	t         *testing.T
	bin, home string
	routes    string // an option of rstr, for the batch script
}

// newSite installs the commands. Those that rstr lends PIDs have the file capability for it, and no more.
func newSite(t *testing.T, lend bool) *site {
	t.Helper()
	s := &site{t: t, bin: filepath.Join(t.TempDir(), "bin"), home: t.TempDir(), routes: "--no-pids"}
	reachable(t, filepath.Dir(s.bin), s.home)
	s.must(os.Mkdir(s.bin, 0o755))
	s.copyTo(shared.tool("ckpt"), "ckpt")
	s.copyTo(shared.tool("rstr"), "rstr")
	if lend {
		s.routes = "--pids"
		s.copyTo(lentRstr(t), "rstr")
		if res := runs(t, harness.Command{Argv: []string{"/usr/sbin/setcap", "cap_checkpoint_restore=ep", filepath.Join(s.bin, "rstr")}}); !res.OK() {
			t.Fatal(res)
		}
	}
	s.must(os.Chown(s.home, ordinary, ordinary))
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) copyTo(path, name string) {
	s.t.Helper()
	b, err := os.ReadFile(path)
	s.must(err)
	s.must(os.WriteFile(filepath.Join(s.bin, name), b, 0o755))
}

func (s *site) command(argv ...string) harness.Command {
	return harness.Command{Argv: asUser(argv), Dir: s.home, Env: []string{"HOME=" + s.home, "PATH=" + s.bin + ":/usr/bin:/bin", "JOB_DIR=" + s.home,
		"SLURM_JOB_ID=17", "STEPS=600", "RSTR=" + s.routes}, Limit: 3 * time.Minute}
}

// steps is how far the work has come, by its log, in which each step stands once and in order.
func (s *site) steps() int {
	s.t.Helper()
	b, _ := os.ReadFile(filepath.Join(s.home, "work.log"))
	n := 0
	for line := range strings.Lines(string(b)) {
		if line == "end\n" {
			break
		}
		if n++; line != strconv.Itoa(n)+"\n" {
			s.t.Fatalf("line %d of the log is %q", n, line)
		}
	}
	return n
}

// TestRequeue plays the batch system for the script of docs/examples: it warns the job before its time is up, and runs it again when the script
// asks for that. The result is that of a run without any interruption.
func TestRequeue(t *testing.T) {
	t.Parallel()
	for name, lend := range map[string]bool{"lent PIDs": true, "no right": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, lend)
			s.copyTo(filepath.Join(shared.Root, "docs/examples/requeue.sbatch"), "batch")
			s.must(os.WriteFile(filepath.Join(s.bin, "scontrol"), []byte("#!/bin/sh\necho \"$@\" >>$HOME/scontrol.log\n"), 0o755))
			work, err := os.ReadFile("testdata/work.py")
			s.must(err)
			s.must(os.WriteFile(filepath.Join(s.home, "work"), work, 0o755))
			pieces := 0
			for asked := 0; pieces == asked; pieces++ {
				s.piece(pieces < 3)
				log, _ := os.ReadFile(filepath.Join(s.home, "scontrol.log"))
				asked = strings.Count(string(log), "requeue 17\n")
				if asked > 3 {
					t.Fatalf("queued again %d times", asked)
				}
				if asked == pieces {
					break
				}
			}
			if pieces != 3 || s.steps() != 600 {
				t.Errorf("after %d pieces and %d steps", pieces, s.steps())
			}
			got, err := os.ReadFile(filepath.Join(s.home, "result"))
			s.must(err)
			alone := newSite(t, false)
			if res := runs(t, alone.command("/usr/bin/env", "python3", "-c", string(work))); !res.OK() {
				t.Fatal(res)
			}
			want, err := os.ReadFile(filepath.Join(alone.home, "result"))
			s.must(err)
			if string(got) != string(want) || len(want) != 64 {
				t.Errorf("the result is %q and not %q", got, want)
			}
			for _, name := range []string{"ckpt", "rstr", "batch"} {
				if info, err := os.Stat(filepath.Join(s.bin, name)); err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
					t.Errorf("%s: %v, %v", name, info.Mode(), err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(s.home, "*.ckpt")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// TestSlurm has Slurm itself do what TestRequeue plays.
func TestSlurm(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	work, err := os.ReadFile("testdata/work.py")
	s.must(err)
	s.must(os.WriteFile(filepath.Join(s.home, "work"), work, 0o755))
	dir, user := t.TempDir(), strconv.Itoa(ordinary)
	reachable(t, dir)
	scripts := filepath.Join(shared.Root, "test/e2e/testdata/slurm")
	res := runs(t, harness.Command{Argv: []string{filepath.Join(scripts, "cluster"), dir, freePort(t), freePort(t), user, filepath.Join(scripts, "job"), user, s.home, s.bin,
		filepath.Join(shared.Root, "docs/examples/requeue.sbatch")}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "RSTR=" + s.routes, "STEPS=600"}, Dir: "/", Limit: 5 * time.Minute})
	if !res.OK() || !strings.Contains(res.Stdout, "Restarts=2") || s.steps() != 600 {
		t.Errorf("after %d steps: %v", s.steps(), res)
	}
	if result, err := os.ReadFile(filepath.Join(s.home, "result")); err != nil || len(result) != 64 {
		t.Errorf("the result is %q, %v", result, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.home, "*.ckpt")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// piece runs the batch script once, and warns it after some more steps if its time is to be too short.
func (s *site) piece(short bool) {
	s.t.Helper()
	c, was := s.command(filepath.Join(s.bin, "batch")), s.steps()
	log := filepath.Join(s.t.TempDir(), "batch.log")
	s.must(os.WriteFile(log, nil, 0o600))
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
	s.must(err)
	defer out.Close()
	null, err := os.Open(os.DevNull)
	s.must(err)
	defer null.Close()
	pid, done, err := shared.reaper.Start(c.Argv, os.ProcAttr{Dir: c.Dir, Env: c.Env, Files: []*os.File{null, out, out}})
	s.must(err)
	s.t.Cleanup(func() { _ = harness.KillTree(pid) })
	for end := time.Now().Add(patience); short && s.steps() < was+100; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b, _ := os.ReadFile(log)
			s.t.Fatalf("the work stands at %d: %s", s.steps(), b)
		}
	}
	if short {
		s.must(harness.Signal(pid, syscall.SIGUSR1))
	}
	select {
	case ended := <-done:
		b, _ := os.ReadFile(log)
		s.t.Logf("a piece said: %s", b)
		if ended.WaitStatus.ExitStatus() != 0 {
			s.t.Fatalf("the batch script ended with %v: %s", ended.WaitStatus, b)
		}
	case <-time.After(2 * time.Minute):
		b, _ := os.ReadFile(log)
		s.t.Fatalf("the batch script does not end; the work stands at %d: %s", s.steps(), b)
	}
}

// TestIntoContainer moves a user's tree from the host into user and PID namespaces, those of rstr --pidns and those that another program has
// made: there it has the PIDs that it had, and no more rights than before.
func TestIntoContainer(t *testing.T) {
	t.Parallel()
	id := strconv.Itoa(ordinary)
	rstr := shared.tool("rstr")
	for name, argv := range map[string][]string{
		"pidns": {rstr, "--pidns"},
		"made": {"/usr/bin/unshare", "--user", "--map-user=" + id, "--map-group=" + id, "--pid", "--fork", "--kill-child", "--mount-proc", "--keep-caps",
			rstr, "--pids"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := userJob(t, "threads")
			was := j.pid
			image := j.herImage()
			seq := j.progress().Seq
			null := devNull(t)
			pid, _, err := shared.reaper.Start(asUser(append(argv, image)), os.ProcAttr{Dir: "/", Env: append(j.herEnv(), j.mark), Files: []*os.File{null, null, null}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = harness.KillTree(pid) })
			j.reach(seq + 5)
			now := j.inside(pid, was)
			for _, ns := range []string{"user", "pid"} {
				here, _ := os.Readlink("/proc/self/ns/" + ns)
				if there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", now, ns)); err != nil || there == here {
					t.Errorf("%s namespace: %s, %v", ns, there, err)
				}
			}
			for field, want := range map[string]string{"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "Uid": strings.TrimSuffix(strings.Repeat(id+"\t", 4), "\t")} {
				if got := statusField(t, now, field); got != want {
					t.Errorf("%s: %q, not %q", field, got, want)
				}
			}
		})
	}
}

// inside finds the process below pid that has a number of its own in a PID namespace.
func (j *job) inside(pid, number int) int {
	j.t.Helper()
	for _, p := range harness.Tree(pid) {
		f := strings.Fields(statusField(j.t, p, "NSpid"))
		if len(f) == 2 && f[1] == strconv.Itoa(number) {
			return p
		}
	}
	j.t.Fatalf("nobody below %d has the number %d in a namespace", pid, number)
	return 0
}

func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
