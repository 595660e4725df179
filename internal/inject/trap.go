package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// traps says whether the program ends in a trap. One that must find its way
// when the tool dies waits instead.
func (sl *slot) traps(p *Program) bool { return p.trap && sl.leave == 0 }

// awaitTrap waits until the program stops its thread, meanwhile letting it go on
// from stops that nobody asked for. A SIGTRAP that is sent to it is lost.
func (s *Space) awaitTrap(t *Thread, run *running) error {
	b := make([]byte, run.size)
	for {
		ev, err := t.take()
		if err != nil {
			return err
		}
		if ev.Event == 0 && ev.Signal == int(unix.SIGTRAP) {
			if _, err := s.mem.ReadAt(b, int64(run.control)); err != nil {
				return err
			}
			run.state, run.last, run.image = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), b[controlSize:]
			if run.state != 0 {
				return nil
			}
			ev.Signal = 0 // somebody else's; its handler must not run yet
		}
		if err := t.pass(ev); err != nil {
			return err
		}
	}
}

// take waits for the next stop of a task of a restore, asleep if it takes long.
// What stopped it is taken from it. If nothing does in time, it is killed.
func (t *Thread) take() (kernelio.TaskEvent, error) {
	for range looks {
		if ev, ok, err := kernelio.PtraceTake(t.tid, false); ok || err != nil {
			return t.taken(ev, err)
		}
	}
	w := t.watch()
	ev, _, err := kernelio.PtraceTake(t.tid, true)
	if w.stop() {
		return ev, fmt.Errorf("task %d: %w", t.tid, ErrDeadline)
	}
	return t.taken(ev, err)
}

func (t *Thread) taken(ev kernelio.TaskEvent, err error) (kernelio.TaskEvent, error) {
	if errors.Is(err, unix.ECHILD) || err == nil && ev.Exited {
		return ev, t.gone()
	}
	return ev, t.wrap("waiting", err)
}

// looks is how often take looks before it sleeps: for ten microseconds or so,
// within which most programs end. To go to sleep costs the Go runtime more. Then a
// watchdog looks after it, in these intervals.
const (
	looks    = 30
	interval = 100 * time.Millisecond
)

// watchdog sees to it that a wait for a thread ends.
type watchdog struct {
	thread   *Thread
	deadline time.Time
	mu       sync.Mutex
	timer    *time.Timer // nil: it was stopped
	late     bool
}

func (t *Thread) watch() *watchdog {
	w := &watchdog{thread: t, deadline: time.Now().Add(programTime)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(interval, w.look)
	return w
}

// stop says whether the thread was killed because it was late.
func (w *watchdog) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
	return w.late
}

func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	if w.late = time.Now().After(w.deadline); w.late {
		kernelio.Kill(w.thread.tid, unix.SIGKILL)
	}
	w.thread.reapOthers()
	w.timer.Reset(interval)
}

// reapOthers takes away what is left of the other threads of a process that
// has ended: its leader is reported only after them (delay_group_leader).
func (t *Thread) reapOthers() {
	st, err := readStatus(t.tid)
	if err != nil || st.state != 'Z' {
		return
	}
	others, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.tid))
	for _, o := range others {
		tid, _ := strconv.Atoi(o.Name())
		if st, err := readStatus(tid); err == nil && st.state == 'Z' && tid != t.tid {
			kernelio.PtraceTake(tid, false)
		}
	}
}
