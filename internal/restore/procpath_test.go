package restore

import (
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
)

// Paths below /proc follow a task to its new number; all others stay.
func TestRenamedPath(t *testing.T) {
	s := &session{content: &content{byPID: map[kind.PID]bool{100: true, 101: true}}, numbers: map[kind.PID]kind.PID{100: 7, 101: 8}}
	for path, want := range map[string]string{
		"/proc/100/maps\x00":          "/proc/7/maps\x00",
		"/proc/100\x00":               "/proc/7\x00",
		"/proc/101/task/100/stat\x00": "/proc/8/task/7/stat\x00",
		"/proc/100/task/5/stat\x00":   "/proc/7/task/5/stat\x00",
		"/proc/1001/maps\x00":         "/proc/1001/maps\x00",
		"/proc/self/maps\x00":         "/proc/self/maps\x00",
		"/proc/\x00":                  "/proc/\x00",
		"/tmp/proc/100/maps\x00":      "/tmp/proc/100/maps\x00",
	} {
		if got := string(s.renamedPath([]byte(path))); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}
