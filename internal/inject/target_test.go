package inject

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// TestMain builds the C targets once and, in a child that is told so, plays
// the tool that gets killed.
func TestMain(m *testing.M) {
	if f := os.Getenv("INJECT_TOOL"); f != "" {
		tools()[f](os.Args[1:])
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "inject")
	if err != nil {
		panic(err)
	}
	targetDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var targetDir string

var builds sync.Mutex

// build compiles testdata/NAME.c with the flags, or the Go program gotarget,
// once.
func build(t testing.TB, name string, flags ...string) string {
	t.Helper()
	out := filepath.Join(targetDir, name+fmt.Sprint(flags))
	builds.Lock()
	defer builds.Unlock()
	if _, err := os.Stat(out); err == nil {
		return out
	}
	if name == "gotarget" {
		cmd := exec.Command("go", "build", "-o", out, "./testdata/gotarget")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, b)
		}
		return out
	}
	args := append([]string{"-O2", "-Wall", "-pthread", "-mavx512f", "-o", out, "testdata/" + name + ".c"}, flags...)
	if b, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, b)
	}
	return out
}

// target is a running testdata/target.c.
type target struct {
	t     testing.TB
	cmd   *exec.Cmd
	board []byte
	modes int
}

// Of struct board.
const (
	boardFailed = 16 * 8
	boardStops  = boardFailed + 8
	boardWhy    = boardStops + 8
	boardSize   = pageSize
)

func startTarget(t testing.TB, exe string, modes ...string) *target {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "board")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(boardSize); err != nil {
		t.Fatal(err)
	}
	board, err := unix.Mmap(int(f.Fd()), 0, boardSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	tg := &target{t: t, board: board, modes: len(modes), cmd: exec.Command(exe, append([]string{f.Name()}, modes...)...)}
	if err := tg.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tg.cmd.Process.Kill()
		tg.cmd.Wait()
	})
	tg.beating()
	return tg
}

func (tg *target) pid() int { return tg.cmd.Process.Pid }

func (tg *target) beats() (b [16]uint64) {
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(tg.board[8*i:])
	}
	return b
}

// ok fails the test if the target found something wrong.
func (tg *target) ok() {
	tg.t.Helper()
	if n := binary.LittleEndian.Uint64(tg.board[boardFailed:]); n != 0 {
		why, _, _ := bytes.Cut(tg.board[boardWhy:], []byte{0})
		tg.t.Fatalf("the target found %d things wrong: %s", n, why)
	}
}

// beating waits until every mode has made progress.
func (tg *target) beating() {
	tg.t.Helper()
	before := tg.beats()
	end := time.Now().Add(10 * time.Second)
	for {
		n, now := 0, tg.beats()
		for i := range tg.modes {
			if now[i] > before[i] {
				n++
			}
		}
		tg.ok()
		if n == tg.modes {
			return
		}
		if time.Now().After(end) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tg.pid()))
			tg.t.Fatalf("only %d of %d modes go on: %v, before %v\n%s", n, tg.modes, now, before, status)
		}
		time.Sleep(time.Millisecond)
	}
}

// lister lists the threads of a process for Freeze.
func lister(pid int) func() ([]int, error) {
	return func() ([]int, error) { return kernelio.Threads(pid) }
}

func soon() time.Time { return time.Now().Add(10 * time.Second) }

func newTracer(t *testing.T) *Tracer {
	tr := NewTracer()
	t.Cleanup(tr.Close)
	return tr
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
