package harness

import (
	"os"
	"syscall"
	"testing"
)

func TestStartTellsThePID(t *testing.T) {
	r, err := NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	pid, done, err := r.Start([]string{"/bin/sleep", "100"}, os.ProcAttr{})
	if err != nil || pid <= 1 {
		t.Fatalf("PID %d, %v", pid, err)
	}
	if !Exists(pid) {
		t.Errorf("no process has PID %d", pid)
	}
	if err := Signal(pid, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if status := <-done; !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", status)
	}
}

func TestSignalReachesOneProcessOnly(t *testing.T) {
	for _, pid := range []int{1, 0, -1, -os.Getpid()} {
		if err := Signal(pid, 0); err == nil {
			t.Errorf("PID %d: not refused", pid)
		}
	}
}
