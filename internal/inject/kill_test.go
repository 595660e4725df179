package inject

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kills is how often the tool dies in each test.
const kills = 300

// runTool starts this test binary as a tool, kills it after a random time of
// up to max, and says what it printed.
func runTool(t *testing.T, name string, max time.Duration, args ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "INJECT_TOOL="+name)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4*time.Millisecond + rand.N(max))
	cmd.Process.Kill()
	if cmd.Wait(); out.Len() > 0 {
		t.Fatalf("the tool said: %s", &out)
	}
}

func TestToolKilledInDump(t *testing.T) {
	for _, last := range []string{"compute", "naps", "epolls"} {
		t.Run(last, func(t *testing.T) {
			modes := []string{"compute", "calls", "futexes", "polls", "epolls", "recvs", "sigwaits", "reads", "writes", "timers", last}
			t.Setenv("TARGET_MAY_SEE_STOPS", "1")
			tg := startTarget(t, build(t, "target"), modes...)
			for range kills / 3 {
				runTool(t, "dump", 20*time.Millisecond, strconv.Itoa(tg.pid()))
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
