package kernelio

import (
	"os"
	"os/exec"
	"os/signal"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestIgnoreStops: afterwards the stop of a child is no news, and its end is.
func TestIgnoreStops(t *testing.T) {
	news := make(chan os.Signal, 8)
	signal.Notify(news, unix.SIGCHLD)
	defer signal.Stop(news)
	if err := IgnoreStops(); err != nil {
		t.Fatal(err)
	}
	// Children of other tests may end meanwhile; they do not end five times.
	for try := 0; announced(t, news); try++ {
		if try == 4 {
			t.Fatal("its stop was announced")
		}
	}
}

// announced stops a child and says whether that was news.
func announced(t *testing.T, news <-chan os.Signal) (told bool) {
	t.Helper()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	unix.Kill(pid, unix.SIGSTOP)
	if _, err := unix.Wait4(pid, nil, unix.WUNTRACED, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-news:
		told = true
	case <-time.After(50 * time.Millisecond):
	}
	child.Process.Kill()
	child.Wait()
	select {
	case <-news:
	case <-time.After(10 * time.Second):
		t.Error("its end was not announced")
	}
	return told
}
