package dump

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

const sigStop = unix.SIGSTOP

// goneTime bounds how long ckpt waits for the numbers of a killed tree to
// become free. A zombie keeps its PID until its parent waits for it, and
// that parent may be anybody.
const goneTime = 10 * time.Second

// kill ends the tree, all at once while it is still frozen, and waits until
// its PIDs are free where that is in our hands.
func (s *session) kill() error {
	for _, p := range s.procs {
		if p.zombie {
			continue
		}
		if err := kernelio.PidfdSignal(p.pidfd, unix.SIGKILL); err != nil && !kernelio.IsGone(err) {
			return fmt.Errorf("killing %s: %w", p.name(), err)
		}
	}
	if err := s.release(); err != nil {
		return err
	}
	deadline := time.Now().Add(goneTime)
	for _, p := range s.procs {
		for p.dir.Same() == nil && time.Now().Before(deadline) {
			time.Sleep(200 * time.Microsecond)
		}
	}
	return nil
}
