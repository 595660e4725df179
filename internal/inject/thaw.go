package inject

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Thaw lets all threads go, all at about the same time: a thread that runs
// while others of its process are traced is woken by signals that are ignored.
// One that calls execve(2) at once ends those that are still traced, and waits
// until they are reaped.
func (f *Frozen) Thaw() error {
	var all error
	var gone []int
	note := func(t *Thread, err error) {
		if errors.Is(err, ErrGone) {
			gone = append(gone, t.tid)
		} else if err != nil {
			all = errors.Join(all, err)
		}
	}
	f.tr.Do(func() {
		for _, t := range f.Threads {
			note(t, t.halted())
		}
		for _, t := range f.order() {
			note(t, t.wrap("detaching", kernelio.PtraceDetach(t.tid, 0)))
			delete(f.Threads, t.tid)
			if t.stop.Kind == StopGroup {
				t.awaitStopped()
			}
		}
		for _, tid := range gone {
			awaitEnd(tid)
		}
	})
	return all
}

// awaitEnd reaps a tracee that is about to end, if it is one. The first thread
// of a process can't be reaped before the others, and nobody waits for that.
func awaitEnd(tid int) {
	var w waiter
	for until := time.Now().Add(stopTime); !w.expired(until); w.pause() {
		if ev, ok, err := kernelio.PtraceWait(tid, false); err != nil || ok && ev.Exited {
			return
		}
		st, err := readStatus(tid)
		dying := st.pending.Has(int(unix.SIGKILL)) || st.state == 'R' || st.state == 'Z' && tid != st.tgid
		if err != nil || st.tracer != unix.Gettid() || !dying {
			return
		}
	}
}

// order puts the stopped threads first: a parent that looks at its stopped
// child must not find it in anything but its stop.
func (f *Frozen) order() []*Thread {
	return slices.SortedFunc(maps.Values(f.Threads), func(a, b *Thread) int {
		return stoppedFirst(a) - stoppedFirst(b)
	})
}

func stoppedFirst(t *Thread) int {
	if t.stop.Kind == StopGroup {
		return 0
	}
	return 1
}

// stoppedTime is how long a detached thread may take to find its way back
// into the stop of its group.
const stoppedTime = 50 * time.Millisecond

func (t *Thread) awaitStopped() {
	var w waiter
	for until := time.Now().Add(stoppedTime); time.Now().Before(until); w.pause() {
		if st, err := readStatus(t.tid); err != nil || st.state == 'T' {
			return
		}
	}
}

// halted makes sure that the thread can be detached: that it is stopped, in a
// state that is its own.
func (t *Thread) halted() error {
	if t.own != nil {
		return fmt.Errorf("task %d still runs in a space", t.tid)
	}
	if t.stop.Kind == Running {
		if err := t.interrupt(); err != nil {
			return err
		}
		if _, err := t.WaitStop(time.Now().Add(vforkTime)); err != nil {
			return err
		}
	}
	return t.rough()
}
