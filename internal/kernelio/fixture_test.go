package kernelio

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain fails the run when a test leaves a descriptor open.
func TestMain(m *testing.M) {
	if role := os.Getenv("KERNELIO_TEST_ROLE"); role != "" {
		os.Exit(play(role))
	}
	// The runtime opens what it needs (epoll, its eventfd) when a pipe is first used.
	exec.Command("true").Output()
	before, err := OpenFDs()
	if err != nil {
		panic(err)
	}
	code := m.Run()
	after, err := OpenFDs()
	for n, what := range after {
		if _, ok := before[n]; !ok || err != nil {
			fmt.Fprintf(os.Stderr, "leaked descriptor %d: %s %v\n", n, what, err)
			code = 1
		}
	}
	os.Exit(code)
}

// target is a process that is looked at from outside. It prints lines and
// reads lines.
type target struct {
	*exec.Cmd
	pid int
	out *bufio.Reader
	in  io.WriteCloser
}

func start(t *testing.T, name string, args ...string) *target {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	x := &target{c, c.Process.Pid, bufio.NewReader(out), in}
	t.Cleanup(x.end)
	return x
}

// end kills and reaps the process; doing it again is harmless.
func (x *target) end() {
	x.Process.Kill()
	x.Wait()
}

// startC compiles the body of a C main function and starts it. With
// CKPT_TEST_TARGETS, a directory, the programs are kept there and used again:
// a machine without a compiler, such as a small one with another kernel, can
// be given that directory.
func startC(t *testing.T, body string) *target {
	t.Helper()
	dir := os.Getenv("CKPT_TEST_TARGETS")
	if dir == "" {
		dir = t.TempDir()
	}
	source := prelude + "int main(void) {\n" + body + "\n}\n"
	exe := filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(source))))
	if _, err := os.Stat(exe); err != nil {
		compile(t, source, exe)
	}
	return start(t, exe)
}

func compile(t *testing.T, source, exe string) {
	t.Helper()
	cc := exec.Command("gcc", "-static", "-pthread", "-x", "c", "-", "-o", exe)
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		if _, missing := exec.LookPath("gcc"); missing != nil {
			t.Skip("no C compiler")
		}
		t.Fatalf("%v\n%s", err, out)
	}
}

const prelude = `#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#define SAY(...) (printf(__VA_ARGS__), printf("\n"), fflush(stdout))
`

// read scans the next line into args.
func (x *target) read(t *testing.T, format string, args ...any) {
	t.Helper()
	line, err := x.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, format, args...)
	}
	if err != nil {
		t.Fatalf("the target says %q: %v", line, err)
	}
}

func proc(t *testing.T, pid int) *ProcDir {
	t.Helper()
	p, err := OpenProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// own closes what a test opened, and ends it if that went wrong.
func own[T io.Closer](t *testing.T) func(T, error) T {
	return func(c T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}
