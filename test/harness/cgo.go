package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// WithoutCgo goes on only in a test program that is built as the commands are: with cgo the runtime refuses to make a system call in all
// threads (syscall.AllThreadsSyscall), which giving up privilege takes. Another one is built without it and run in its place.
func WithoutCgo() {
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0); errno != syscall.ENOTSUP {
		return
	}
	code, err := rerun()
	if err != nil {
		fmt.Fprintln(os.Stderr, "running the tests without cgo:", err)
		code = 1
	}
	os.Exit(code)
}

func rerun() (int, error) {
	dir, err := os.MkdirTemp("", "nocgo")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, filepath.Base(os.Args[0]))
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	c := exec.Command(program, os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = c.Run()
	if c.ProcessState == nil {
		return 0, err
	}
	return c.ProcessState.ExitCode(), nil
}
