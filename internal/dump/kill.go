package dump

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// stopAll sends SIGSTOP to every process of the tree.
func (s *session) stopAll() error { return s.signal(unix.SIGSTOP) }

func (s *session) signal(sig unix.Signal) error {
	for _, p := range s.procs {
		if p.zombie {
			continue
		}
		if err := kernelio.PidfdSignal(p.pidfd, sig); err != nil && !kernelio.IsGone(err) {
			return fmt.Errorf("sending %s to %s: %w", unix.SignalName(sig), p.name(), err)
		}
	}
	return nil
}

// goneTime bounds how long ckpt waits for the numbers of a killed tree to
// become free. A zombie keeps its PID until its parent waits for it, and
// that parent may be anybody.
const goneTime = 10 * time.Second

// patience is how long the wait for a parent goes without a word.
const patience = 300 * time.Millisecond

// Unreaped is a dead process whose parent has not waited for it.
type Unreaped struct {
	PID    int
	Name   string
	Parent int // 0: nobody that we can see
}

// kill ends the tree, all at once while it is still frozen, and waits until
// its PIDs are free where that is in our hands.
func (s *session) kill(o Options, r *Report) error {
	if err := s.signal(unix.SIGKILL); err != nil {
		return &KilledError{err}
	}
	s.thaw = nil
	s.bury()
	if o.Dead != nil {
		err := s.confirm(time.Now().Add(goneTime))
		if err == nil {
			err = o.Dead()
		}
		if err != nil {
			return &KilledError{err}
		}
	}
	s.awaitNumbers(o, r)
	return nil
}

// confirm wants every process of the tree to have ended, as the kernel says: a
// pidfd can be read when all threads have exited (pidfd_open(2)).
func (s *session) confirm(deadline time.Time) error {
	for _, p := range s.procs {
		if p.zombie {
			continue
		}
		if err := kernelio.WaitDead(p.pidfd, deadline); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
	}
	return nil
}

// awaitNumbers waits until the numbers of the dead are free.
func (s *session) awaitNumbers(o Options, r *Report) {
	start := time.Now()
	told := false
	for _, p := range s.procs {
		for p.dir.Same() == nil {
			waited := time.Since(start)
			if waited > goneTime {
				r.Unreaped = append(r.Unreaped, p.unreaped())
				break
			}
			if waited > patience && !told && o.Waiting != nil {
				told = true
				o.Waiting(p.unreaped())
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
}

func (p *process) unreaped() Unreaped {
	u := Unreaped{PID: p.pid, Name: p.stat.Comm}
	if st, err := p.dir.Stat(); err == nil {
		u.Parent = int(st.PPid)
	}
	return u
}

// bury takes note of the deaths as the tracer, which must come before the
// parent's turn (ptrace(2), "Death under ptrace"). A leader's death is
// reported after those of its threads.
func (s *session) bury() {
	for _, leaders := range []bool{false, true} {
		for tid, th := range s.frozen {
			if leaders != (tid == th.PID()) {
				continue
			}
			for {
				st, err := kernelio.Reap(tid)
				if err != nil || st.Exited() || st.Signaled() {
					break
				}
			}
		}
	}
}
