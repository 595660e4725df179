package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/vm"
)

// releases are the kernels that the tests run on beside this machine's own: the oldest that is supported, which lacks much of what probes
// look for, and one in the middle.
var releases = map[string]string{"6.1": "", "6.12": "6.12"}

// TestOtherKernels runs the tests of this package, the probes of internal/host, and a whole cycle of ckpt and rstr on other kernels.
func TestOtherKernels(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/bin/kernel": vm.TestProgram(t, "test/kernel"), "/bin/host": vm.TestProgram(t, "internal/host"),
		"/bin/ckpt": vm.Program(t, "cmd/ckpt"), "/bin/rstr": vm.Program(t, "cmd/rstr"),
		"/bin/exelink": exeLinkProgram(t, t.TempDir()), "/bin/fixture": fixture(t, "mem_unheld"),
	}
	for name, release := range releases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := vm.Run(t, vm.Machine{Files: files, Argv: []string{"/bin/kernel", "-test.v", "-test.run", "^(TestInterfaces|TestTries|TestProbes|TestCycle|TestYama)$"},
				Env: []string{exeLinkAt + "=/bin/exelink", inMachine + "=" + name}, Release: release, Limit: 3 * time.Minute})
			if r.Status != 0 || strings.Count(r.Output, "--- PASS") < 5 {
				t.Errorf("status %d:\n%s", r.Status, r.Output)
			}
			t.Logf("%s", r.Output)
		})
	}
}

// TestRightsInMachine runs the tests of what takes which right where root has every capability, which it lacks in many a container and
// on this kind of host: none is left out there.
func TestRightsInMachine(t *testing.T) {
	t.Parallel()
	for name, release := range releases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := vm.Run(t, vm.Machine{Files: map[string]string{"/bin/kinds": vm.TestProgram(t, "internal/kinds")},
				Argv: []string{"/bin/kinds", "-test.v", "-test.run", "^(TestTightNeeds|TestTightAlone)$"}, Release: release, Limit: 3 * time.Minute})
			whole := strings.Contains(r.Output, "--- PASS: TestTightNeeds (") && strings.Contains(r.Output, "--- PASS: TestTightAlone (")
			if r.Status != 0 || !whole || strings.Contains(r.Output, "--- SKIP") {
				t.Errorf("status %d:\n%s", r.Status, r.Output)
			}
		})
	}
}

// inMachine names the release of the kernel, for the tests in the machine.
const inMachine = "CKPT_TEST_MACHINE"

// fixture builds a C program of testdata/fixtures that needs no libraries.
func fixture(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("gcc", "-O1", "-static", "-o", path, "../../testdata/fixtures/"+name+".c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return path
}

// TestProbes has internal/host hold its probes against the kernel of the machine.
func TestProbes(t *testing.T) {
	if os.Getenv(inMachine) == "" {
		return // the tests of that package run here anyway
	}
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil || !strings.HasPrefix(string(b), os.Getenv(inMachine)+".") {
		t.Fatalf("the kernel is %s, %v", b, err)
	}
	out, err := exec.Command("/bin/host", "-test.v", "-test.run", "^(TestFeatures|TestProbesLeaveNothing)$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFeatures") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCycle dumps a program of the ordinary user's, with the capability and without, and restores it.
func TestCycle(t *testing.T) {
	if os.Getenv(inMachine) == "" {
		return // test/e2e does more of it here
	}
	run(t, nil, "/", "/bin/ckpt", "keygen")
	for who, route := range map[string]string{"alone": "map_files 8", "without": "memory 7"} {
		dir, err := os.MkdirTemp("/tmp", "cycle")
		if err == nil {
			err = os.Chown(dir, user, user)
		}
		if err != nil {
			t.Fatal(err)
		}
		status, image := filepath.Join(dir, "status"), filepath.Join(dir, "image")
		cmd := exec.Command("/bin/fixture", status, dir)
		cmd.SysProcAttr, cmd.Dir = worn["without"], "/"
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		reach(t, status, 3)
		pid := itoa(cmd.Process.Pid)
		go func() { _ = cmd.Wait() }()
		run(t, worn[who], dir, "/bin/ckpt", "--kill", "-o", image, pid)
		run(t, nil, "/", "/bin/ckpt", "sign", image)
		if said := run(t, nil, "/", "/bin/ckpt", "show", image); !strings.Contains(said, route) {
			t.Errorf("%s: %s", who, said)
		}
		was := lines(status)
		run(t, nil, "/", "/bin/rstr", "--verify", "--detach", image)
		reach(t, status, was+3)
	}
}

// TestYama raises kernel.yama.ptrace_scope level by level, which goes one way only: what ckpt says of each.
func TestYama(t *testing.T) {
	if os.Getenv(inMachine) == "" {
		return // few hosts have it, and none could be left with it
	}
	dir, err := os.MkdirTemp("/tmp", "yama")
	if err == nil {
		err = os.Chown(dir, user, user)
	}
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(dir, "status")
	cmd := exec.Command("/bin/fixture", status, dir)
	cmd.SysProcAttr, cmd.Dir = worn["without"], "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reach(t, status, 3)
	dump := func(who, image string) (string, error) {
		c := exec.Command("/bin/ckpt", "-f", "-o", filepath.Join(dir, image), itoa(cmd.Process.Pid))
		c.SysProcAttr, c.Env = worn[who], []string{"HOME=" + dir}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for _, level := range []struct {
		scope, says string
		root        bool
	}{{"0", "", true}, {"1", "ancestors", true}, {"2", "takes CAP_SYS_PTRACE", true}, {"3", "until the next boot", false}} {
		if err := os.WriteFile("/proc/sys/kernel/yama/ptrace_scope", []byte(level.scope), 0); err != nil {
			t.Fatal(err)
		}
		said, err := dump("without", "hers")
		if level.says == "" && err != nil || level.says != "" && (err == nil || !strings.Contains(said, level.says)) {
			t.Errorf("at %s: %v, %s", level.scope, err, said)
		}
		if said, err := dump("root", "roots"); (err == nil) != level.root || err != nil && !strings.Contains(said, level.says) {
			t.Errorf("root at %s: %v, %s", level.scope, err, said)
		}
	}
	if err := os.Remove(status); err != nil {
		t.Fatal(err)
	}
	reach(t, status, 1) // it goes on
}
