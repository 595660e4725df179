package kinds

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

func TestPidfd(t *testing.T) {
	w := newWorld(t)
	for _, flags := range []int{0, abi.PidfdNonblock, abi.PidfdThread} {
		fd := must(unix.PidfdOpen(os.Getpid(), flags))(t)
		f := w.add(fd)
		w.restore(f)
		w.same(f)
		unix.Close(fd)
		unix.Close(w.fd(f.Ref().Main()))
	}
}

func TestPidfdOfOthers(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd := must(unix.PidfdOpen(cmd.Process.Pid, 0))(t)
	defer unix.Close(fd)
	if why := newWorld(t).refused(newWorld(t).add(fd)); !strings.Contains(why, "outside the tree") {
		t.Error(why)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if why := newWorld(t).refused(newWorld(t).add(fd)); !strings.Contains(why, "waited for") {
		t.Error(why)
	}
}
