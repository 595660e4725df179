package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// world is where rstr is installed with authority, and users run it.
type world struct {
	*harness.World
	t *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ckpt-world")
	if err != nil {
		t.Fatal(err)
	}
	w, err := harness.NewWorld(filepath.Join(dir, "w"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); os.RemoveAll(dir) })
	return &world{w, t}
}

// rstr installs rstr with a mode and capabilities.
func (w *world) rstr(name string, mode os.FileMode, caps ...uint) string {
	w.t.Helper()
	return w.install("rstr", name, mode, caps...)
}

func (w *world) install(tool, name string, mode os.FileMode, caps ...uint) string {
	w.t.Helper()
	if path := filepath.Join(w.Bin, name); len(caps) == 0 && mode == 0o755 {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := w.Install(shared.tool(tool), name, mode, true, caps...)
	if err != nil {
		w.t.Fatal(err)
	}
	return path
}

// run runs a program as a user, with no more environment than a login gives.
func (w *world) run(u harness.User, argv ...string) harness.Result {
	w.t.Helper()
	return runs(w.t, harness.Command{Argv: w.As(u, argv...), Env: []string{"PATH=/usr/bin:/bin"}})
}

// begin starts a fixture as a user.
func (w *world) begin(u harness.User, name string, extra ...string) *job {
	w.t.Helper()
	from, err := shared.C(name)
	if err != nil {
		w.t.Fatal(err)
	}
	path, err := w.Install(from, name, 0o755, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.beginAs(u, path, extra...)
}

// beginAs starts an installed program as a user.
func (w *world) beginAs(u harness.User, path string, extra ...string) *job {
	w.t.Helper()
	j := newJob(w.t)
	j.givenTo(u)
	j.start(w.As(u, append([]string{path, j.status, j.dir}, extra...)...), nil, nil)
	return j
}

// givenTo makes a job's files a user's.
func (j *job) givenTo(u harness.User) {
	j.t.Helper()
	for dir := filepath.Dir(j.status); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			j.t.Fatal(err)
		}
	}
	log := filepath.Join(filepath.Dir(j.status), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		j.t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(j.status), j.dir, log} {
		if err := os.Chown(path, u.ID, u.ID); err != nil {
			j.t.Fatal(err)
		}
	}
}

// dump has somebody write an unsigned image of the job, which ends.
func (w *world) dump(u harness.User, j *job) string {
	w.t.Helper()
	tree, image := harness.Tree(j.pid), j.image()
	res := w.run(u, w.install("ckpt", "ckpt", 0o755), "--kill", "-o", image, strconv.Itoa(j.pid))
	if !res.OK() {
		w.t.Fatal(res)
	}
	if err := harness.WaitGone(5*time.Second, tree...); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(image, 0o644); err != nil {
		w.t.Fatal(err)
	}
	return image
}

// mayDo are the lines about authority of a process's status, all threads' of all of its tree.
func mayDo(t *testing.T, pid int) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, p := range harness.Tree(pid) {
		tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(p) + "/task/*/status")
		for _, path := range tasks {
			b, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			var s strings.Builder
			for line := range strings.Lines(string(b)) {
				switch name, value, _ := strings.Cut(line, ":"); name {
				case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb":
					s.WriteString(name + " " + strings.Join(strings.Fields(value), " ") + "; ")
				}
			}
			all[s.String()] = true
		}
	}
	return all
}
