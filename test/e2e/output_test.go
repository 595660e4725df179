package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/test/harness"
)

// TestOutputFails: a dump whose output cannot be written fails, says so, and neither harms nor ends the target, --kill or not.
func TestOutputFails(t *testing.T) {
	t.Parallel()
	j := fixture(t, "threads")
	pid := strconv.Itoa(j.pid)
	full := runs(t, harness.Command{Argv: []string{shared.tool("ckpt"), "--sign", "--kill", pid}, Stdout: "/dev/full"})
	if full.Code() <= 0 {
		t.Errorf("to a full device: %v", full)
	}
	j.unharmed(0)
	broken := "{ sleep 1; " + shared.tool("ckpt") + " --sign --kill " + pid + "; } | true; exit ${PIPESTATUS[0]}"
	if res := runs(t, harness.Command{Argv: []string{"/bin/bash", "-c", broken}}); res.OK() {
		t.Errorf("to a pipe that nobody reads: %v", res)
	}
	j.unharmed(1)
	if res := ckpt(t, "--sign", "--kill", "-o", "/nonexistent/image", pid); res.Code() <= 0 || !strings.Contains(res.Stderr, "/nonexistent") {
		t.Errorf("into a directory that is not there: %v", res)
	}
	j.unharmed(2)
	j.cycle()
}

// TestSparseImage: reservations cost neither time nor space.
func TestSparseImage(t *testing.T) {
	t.Parallel()
	j := fixture(t, "mem_sparse")
	image := j.image()
	res := ckpt(t, "--sign", "-o", image, strconv.Itoa(j.pid))
	if !res.OK() {
		t.Fatal(res)
	}
	if info, err := os.Stat(image); err != nil || info.Size() > 2<<20 {
		t.Errorf("%d bytes of image, %v", info.Size(), err)
	}
	if res.Took > 5*time.Second {
		t.Errorf("dumped in %v", res.Took)
	}
}

// TestStdio: standard output that led out of the tree leads to rstr's own after a restore.
func TestStdio(t *testing.T) {
	t.Parallel()
	path, err := shared.C("stdio")
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	j := beginWith(t, []string{path}, nil, w, w)
	w.Close()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "out 0\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	go func() { _, _ = bufio.NewReader(r).WriteTo(devNull(t)) }()
	image := j.dump()
	was, out := j.progress().Seq, filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := runs(t, harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", image}, Stdout: out}); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 3)
	if b, _ := os.ReadFile(out); !strings.Contains(string(b), fmt.Sprintf("out %d\n", was+2)) {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", j.pid))
		t.Errorf("in rstr's standard output: %.200q; the fixture's is %s", b, link)
	}
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// terminal makes a pseudoterminal and collects what is written to it.
func terminal(t *testing.T) (tty *os.File, said func() string) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = bufio.NewReader(ptmx).WriteTo(&all) // ends with EIO when the last user of the terminal has closed it
	}()
	return tty, func() string {
		tty.Close()
		<-done
		ptmx.Close()
		return all.String()
	}
}

// TestTerminals: a program whose standard streams are a terminal comes back with those of rstr, whatever they are.
func TestTerminals(t *testing.T) {
	t.Parallel()
	path, err := shared.C("stdio")
	if err != nil {
		t.Fatal(err)
	}
	first, said := terminal(t)
	j := beginWith(t, []string{path}, nil, first, first)
	image := j.dump()
	if text := said(); !strings.Contains(text, "out 0\r\nerr 0\r\n") {
		t.Fatalf("on its terminal it said %q", text)
	}
	second, said := terminal(t)
	log := newFile(t)
	was := j.progress().Seq
	if res := runs(t, harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", image}, Stdout: log, Stderr: second}); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 3)
	for fd, want := range map[int]string{0: "/dev/null", 1: log, 2: second.Name()} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", j.pid, fd)); err != nil || got != want {
			t.Errorf("descriptor %d leads to %q, %v, and rstr's to %q", fd, got, err, want)
		}
	}
	j.end()
	if text := said(); !strings.Contains(text, fmt.Sprintf("err %d\r\n", was+1)) || strings.Contains(text, "out ") {
		t.Errorf("on rstr's terminal it said %q", text)
	}
	if text := slurp(t, log); !strings.Contains(text, fmt.Sprintf("out %d\n", was+1)) {
		t.Errorf("in rstr's output it said %q", text)
	}
}

func newFile(t *testing.T) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestProgress: long work shows its progress on a terminal, and nothing elsewhere.
func TestProgress(t *testing.T) {
	j := fixture(t, "load", "memory", "900")
	pid, image := strconv.Itoa(j.pid), j.image()
	slow := append([]string{"GOMAXPROCS=1"}, shared.env...)
	dump := []string{shared.tool("ckpt"), "--sign", "-o", image, pid}
	quiet := runs(t, harness.Command{Argv: dump, Env: slow})
	if !quiet.OK() || quiet.Stdout+quiet.Stderr != "" {
		t.Errorf("without a terminal: %v", quiet)
	}
	os.Remove(image)
	tty, said := terminal(t)
	res := runs(t, harness.Command{Argv: append([]string{dump[0], "--kill"}, dump[1:]...), Env: slow, Stderr: tty})
	if text := said(); !res.OK() || !strings.Contains(text, "iB") || !strings.Contains(text, "/s") {
		t.Errorf("on a terminal it said %q: %v", text, res)
	}
	if err := harness.WaitGone(patience, j.pid); err != nil {
		t.Fatal(err)
	}
	tty, said = terminal(t)
	res = runs(t, harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", image}, Env: slow, Stderr: tty})
	if text := said(); !res.OK() || !strings.Contains(text, "iB") || !strings.Contains(text, "/s") {
		t.Errorf("on a terminal it said %q: %v", text, res)
	}
	j.goesOn(2)
}

// TestVerbose: -v ends with a line of summary.
func TestVerbose(t *testing.T) {
	t.Parallel()
	j := fixture(t, "counter")
	res := ckpt(t, "-v", "--sign", "-o", j.image(), strconv.Itoa(j.pid))
	if lines := strings.Split(strings.TrimSpace(res.Stderr), "\n"); !res.OK() || !strings.HasPrefix(lines[len(lines)-1], "ckpt: ") {
		t.Errorf("-v: %v", res)
	}
}

// TestNeverToATerminal: an image is not written to a terminal.
func TestNeverToATerminal(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	tty, said := terminal(t)
	res := runs(t, harness.Command{Argv: []string{shared.tool("ckpt"), "--sign", strconv.Itoa(j.pid)}, Stdout: tty.Name()})
	if text := said(); text != "" || res.Code() <= 0 || !strings.Contains(res.Stderr, "terminal") {
		t.Errorf("to a terminal: %q, %v", text, res)
	}
	j.goesOn(2)
}
