package dump

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// orphaned runs a session whose leader ticks, and in it an orphan with a child
// below it, both of which tick.
func orphaned(t *testing.T) (leader int, others []int) {
	t.Helper()
	note := filepath.Join(t.TempDir(), "pids")
	const tick = "tail -s 0.01 -f ---disable-inotify /dev/null"
	c := exec.Command("sh", "-c", fmt.Sprintf("(sh -c '%s & echo $$ $! > %s; wait' &); exec %s", tick, note, tick))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	var orphan, child int
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(note)
		if n, _ := fmt.Sscan(string(text), &orphan, &child); n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no orphan")
		}
	}
	t.Cleanup(func() {
		for _, pid := range []int{child, orphan} {
			_ = kernelio.Kill(pid, syscall.SIGKILL)
		}
	})
	return c.Process.Pid, []int{orphan, child}
}

func TestOrphansOfTheSession(t *testing.T) {
	leader, others := orphaned(t)
	var o output
	r, err := Run(Options{PID: leader, Table: toys(), Header: image.Header{Class: image.ClassSelf}, Output: o.open})
	if err != nil {
		t.Fatal(err)
	}
	goesOn(t, leader)
	goesOn(t, others[1])
	img, err := image.Open(bytes.NewReader(o.Bytes()), int64(o.Len()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Decode()
	if err != nil {
		t.Fatal(err)
	}
	var tree kind.Tree
	if err := image.Unmarshal(m.Tree, &tree); err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, n := range tree.Tasks {
		got = append(got, int(n.PID))
	}
	if want := append([]int{leader}, others...); !slices.Equal(got, want) || r.Tasks != len(want) {
		t.Errorf("the image has %v, reported %d; want %v", got, r.Tasks, want)
	}
	told := map[string]bool{}
	for _, rec := range m.Records {
		key := fmt.Sprint(rec.Site, rec.ID, rec.Kind)
		if told[key] {
			t.Errorf("two records %s", key)
		}
		told[key] = true
	}
}
