package kernel

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// run runs a command with credentials, nil for one's own, and a home, and gives what it printed.
func run(t *testing.T, as *syscall.SysProcAttr, home string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr, cmd.Env = as, []string{"HOME=" + home}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// lines is how often a fixture has checked itself and found all well.
func lines(status string) int {
	b, _ := os.ReadFile(status)
	return strings.Count(string(b), "\nseq ")
}

func reach(t *testing.T, status string, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); lines(status) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b, _ := os.ReadFile(status)
			t.Fatalf("it has come to %d of %d: %.1000s", lines(status), n, b)
		}
	}
	if b, _ := os.ReadFile(status); strings.Contains(string(b), "FAIL") {
		t.Errorf("it found: %s", b)
	}
}
