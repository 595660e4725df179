package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program builds a command of this module so that it runs in a machine, and gives its path here.
func Program(t testing.TB, pkg string) string { return build(t, pkg, "build") }

// TestProgram does so with the tests of a package.
func TestProgram(t testing.TB, pkg string) string { return build(t, pkg, "test", "-c") }

func build(t testing.TB, pkg string, how ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if err := static(path, pkg, how...); err != nil {
		t.Fatal(err)
	}
	return path
}

// static builds without the host's C library, which is not in the machine.
func static(path, pkg string, how ...string) error {
	args := append(how, "-ldflags=-s -w", "-o", path, module+pkg)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return output(cmd)
}

const module = "github.com/ckptool/ckpt/"
