package inject

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kills is how often the tool dies in each test.
const kills = 300

// runTool starts this test binary as a tool, kills it some time of up to max
// after it said that it begins, and fails if it complained.
func runTool(t *testing.T, name string, max time.Duration, args ...string) {
	t.Helper()
	if said := killTool(t, name, max, args...); said != "" {
		t.Fatalf("the tool said: %s", said)
	}
}

// killTool does what runTool does, and returns what the tool complained of.
func killTool(t *testing.T, name string, max time.Duration, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "INJECT_TOOL="+name)
	var said strings.Builder
	cmd.Stderr = &said
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len(begins))); err != nil {
		t.Error(err)
	}
	time.Sleep(rand.N(max))
	cmd.Process.Kill()
	cmd.Wait()
	return said.String()
}

// begins is what a tool prints first.
const begins = "begins\n"

func TestToolKilledInDump(t *testing.T) {
	modes := []string{"compute", "calls", "futexes", "polls", "epolls", "recvs", "sigwaits", "reads", "writes", "timers"}
	for _, c := range []struct {
		name  string
		exe   string
		modes []string
	}{
		{"computing", build(t, "target"), append(modes, "compute")},
		{"napping", build(t, "target"), append(modes, "naps")},
		{"static", build(t, "target", "-static"), append(modes, "epolls")},
		{"go", build(t, "gotarget"), []string{"gc", "channels", "naps", "pipe"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TARGET_MAY_SEE_STOPS", "1")
			tg := startTarget(t, c.exe, c.modes...)
			for range kills / 4 {
				runTool(t, "dump", 10*time.Millisecond, strconv.Itoa(tg.pid()))
				tg.beating()
			}
			t.Logf("%d mappings were left in the target; %d calls saw the stop", strayMappings(t, tg.pid()),
				binary.LittleEndian.Uint64(tg.board[boardStops:]))
		})
	}
}

// strayMappings counts anonymous executable mappings: Spaces that were left.
func strayMappings(t *testing.T, pid int) int {
	maps := string(must[[]byte](t)(os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))))
	n := 0
	for line := range strings.Lines(maps) {
		if f := strings.Fields(line); len(f) == 5 && f[1] == "r-xp" {
			n++
		}
	}
	return n
}

func TestToolKilledInRestore(t *testing.T) {
	count := map[string]int{}
	max := 5 * time.Millisecond // drifts such that most kills are about the commit
	for range kills {
		board, file := boardFile(t)
		said := killTool(t, "restore", max, file, strconv.Itoa(freePID(t)))
		if said != "" && !strings.Contains(said, unix.EEXIST.Error()) { // somebody else may have the PID by then
			t.Fatalf("the tool said: %s", said)
		}
		what := outcome(t, board, file)
		if count[what]++; what == "nothing" {
			max += max / 10
		} else {
			max -= max / 10
		}
		unix.Munmap(board)
	}
	t.Logf("after %d kills: %v", kills, count)
	if count["nothing"] == 0 || count["everything"] == 0 {
		t.Error("the kills were not spread over both sides of the commit")
	}
}

// boardFile is newBoard with a name.
func boardFile(t *testing.T) (board []byte, name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "board")
	if err := os.WriteFile(name, make([]byte, pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f := must[*os.File](t)(os.OpenFile(name, os.O_RDWR, 0))
	defer f.Close()
	return must[[]byte](t)(unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)), name
}

// outcome looks whether all threads of the two processes run, or none ever
// did and nobody has the file; and ends them.
func outcome(t *testing.T, board []byte, file string) string {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		for i := range tinyWords {
			if word(board, i) != 0 {
				running++
			}
		}
		have := users(file)
		switch {
		case running == tinyWords && len(have) == 2:
			for i := range tinyWords {
				awaitBeat(t, board, i)
			}
			for _, pid := range have {
				unix.Kill(pid, unix.SIGKILL)
			}
			return "everything"
		case running == 0 && len(have) == 0:
			return "nothing"
		case time.Now().After(end):
			t.Fatalf("%d of %d threads run; the processes %v are there", running, tinyWords, have)
		}
	}
}

// users are the processes beside this one that have the file mapped or open:
// those that a tool made, and its stub.
func users(file string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		maps, _ := os.ReadFile(dir + "/maps")
		link, _ := os.Readlink(dir + "/fd/0")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid != os.Getpid() && (link == file || strings.Contains(string(maps), file+"\n")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func restoreOnce(args []string) {
	pid, _ := strconv.Atoi(args[1])
	board, err := os.OpenFile(args[0], os.O_RDWR, 0)
	check(err)
	b, err := NewBarrier()
	check(err)
	os.Stdout.WriteString(begins)
	tn, err := makeTiny(NewTracer(), b, board, pid, false)
	check(err)
	check(tn.st.Proc.Kill())
	err = tn.st.Proc.Wait()
	check(err)
	check(tn.commit(b))
	time.Sleep(time.Minute)
}

// check ends a tool that failed.
func check(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(3)
	}
}
