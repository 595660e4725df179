package kernel

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/host"
)

// Names of the environment: the interface that a child of the tests is to try, and where the program testdata/exelink.c is.
const (
	tryIt     = "CKPT_TEST_TRY"
	exeLinkAt = "CKPT_TEST_EXELINK"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(tryIt); name != "" {
		fmt.Println(outcome(interfaces[name]()))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// user is an ordinary user; she needs no entry in /etc/passwd.
const user = 12345

// worn are the credentials that the interfaces are tried with.
var worn = map[string]*syscall.SysProcAttr{
	"root":        {},
	"alone":       {Credential: &syscall.Credential{Uid: user, Gid: user}, AmbientCaps: []uintptr{unix.CAP_CHECKPOINT_RESTORE}},
	"without":     {Credential: &syscall.Credential{Uid: user, Gid: user}},
	"namespace":   {Credential: &syscall.Credential{Uid: 0, Gid: 0}, Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, UidMappings: mapped, GidMappings: mapped},
	"others' cap": {Credential: &syscall.Credential{Uid: user, Gid: user}, AmbientCaps: []uintptr{unix.CAP_NET_RAW}},
}

// mapped makes the ordinary user root of her own namespace.
var mapped = []syscall.SysProcIDMap{{ContainerID: 0, HostID: user, Size: 1}}

// expected is what comes of each interface.
var expected = map[string]map[string]string{
	"clone3":            {"root": "ok", "alone": "ok", "without": "EPERM", "others' cap": "EPERM", "namespace": "ok"},
	"ns_last_pid":       {"root": "ok", "alone": "ok", "without": "EPERM", "others' cap": "EPERM", "namespace": "ok"},
	"map_files":         {"root": "ok", "alone": "ok", "without": "EPERM", "others' cap": "EPERM", "namespace": "EPERM"},
	"map_files memfd":   {"root": "ok", "alone": "ok", "without": "EPERM", "others' cap": "EPERM", "namespace": "EPERM"},
	"readlink":          {"root": "ok", "alone": "ok", "without": "ok", "others' cap": "ok"},
	"exe":               {"root": "ok", "alone": "ok", "without": "EPERM", "others' cap": "EPERM"},
	"layout":            {"root": "ok", "alone": "ok", "without": "ok", "others' cap": "ok"},
	"choose afterwards": {"root": "ok", "alone": "ok", "without": "EPERM"},
}

// here is a copy of this program that everybody may run.
func here(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kernel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	path := filepath.Join(dir, "try")
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// exeLinkProgram is built where there is a compiler, and was brought along where there is none.
func exeLinkProgram(t *testing.T, dir string) string {
	t.Helper()
	if path := os.Getenv(exeLinkAt); path != "" {
		return path
	}
	path := filepath.Join(dir, "exelink")
	args := []string{"-O1", "-Wall", "-Wextra", "-Werror", "-static", "-nostdlib", "-fno-stack-protector", "-fcf-protection=none", "-fno-pie", "-no-pie",
		"-Wl,--build-id=none", "-Wl,-z,noexecstack", "-o", path, "testdata/exelink.c"}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return path
}

// TestInterfaces tries each interface with each set of credentials. Whoever may is shown to have had the effect, whoever may not gets EPERM.
func TestInterfaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to become others")
	}
	program := here(t)
	exelink := exeLinkProgram(t, filepath.Dir(program))
	dir := filepath.Join(filepath.Dir(program), "dir")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		for who, want := range expected[name] {
			cmd := exec.Command(program)
			cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{tryIt + "=" + name, exeLinkAt + "=" + exelink}, dir, worn[who]
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("%s, %s: %q, not %q, %v", name, who, got, want, err)
			}
		}
		if interfaces[name] == nil {
			t.Errorf("nobody tries %s", name)
		}
	}
}

// TestTries: what internal/host says by trying is what the interfaces do.
func TestTries(t *testing.T) {
	for _, r := range host.Rights("") {
		switch r.Name {
		case "map-files", "pids-clone3", "pids-last-pid", "exe-link", "seccomp":
			if r.Answer != host.Yes {
				t.Errorf("%+v", r)
			}
		}
	}
}
