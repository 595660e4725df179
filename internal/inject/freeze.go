package inject

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Frozen is a tree of which every thread is stopped.
type Frozen struct {
	Threads map[int]*Thread // by TID
	Zombies []int           // TIDs that have ended but are not reaped
	zombie  map[int]bool
	tr      *Tracer
}

// Freeze seizes and stops all tasks that list names; it asks again until no
// new one shows, since what runs may clone. Tasks that end meanwhile are left
// out. When it fails, everything runs on.
func (tr *Tracer) Freeze(list func() ([]int, error), o Options, deadline time.Time) (*Frozen, error) {
	f := &Frozen{tr: tr, Threads: map[int]*Thread{}, zombie: map[int]bool{}}
	err := tr.try(func() error { return f.freeze(tr, list, o, deadline) })
	if err != nil {
		return nil, errors.Join(err, f.Thaw())
	}
	for tid := range f.zombie {
		f.Zombies = append(f.Zombies, tid)
	}
	return f, nil
}

func (f *Frozen) freeze(tr *Tracer, list func() ([]int, error), o Options, deadline time.Time) error {
	for {
		tids, err := list()
		if err != nil {
			return err
		}
		fresh, err := f.seize(tr, tids, o)
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := f.stop(fresh, deadline); err != nil {
			return err
		}
	}
}

// seize seizes and interrupts those that are not known yet.
func (f *Frozen) seize(tr *Tracer, tids []int, o Options) (fresh []*Thread, err error) {
	for _, tid := range tids {
		if f.Threads[tid] != nil || f.zombie[tid] {
			continue
		}
		t, err := tr.Seize(tid, o)
		if f.mayPass(tid, err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.Threads[tid] = t
		if err := t.Interrupt(); errors.Is(err, ErrGone) {
			delete(f.Threads, tid)
			continue
		} else if err != nil {
			return nil, err
		}
		fresh = append(fresh, t)
	}
	return fresh, nil
}

// mayPass takes note of tasks that have ended.
func (f *Frozen) mayPass(tid int, err error) bool {
	var z *ZombieError
	if errors.As(err, &z) {
		f.zombie[tid] = true
		return true
	}
	return errors.Is(err, ErrGone)
}

// vforkTime is how long threads may take before it is looked at which of them
// wait in vfork(2): such a thread does not stop before its child has called
// execve or ended.
const vforkTime = 20 * time.Millisecond

// stop waits until all of fresh are stopped. It takes them as they come, so
// that what a stop does to a call (Thread.WaitStop) is made up for at once.
func (f *Frozen) stop(fresh []*Thread, deadline time.Time) error {
	var w waiter
	var free freed
	look := earlier(time.Now().Add(vforkTime), deadline)
	for len(fresh) > 0 {
		rest, err := f.collect(fresh)
		if err != nil {
			return err
		}
		back, err := free.catch(f, rest)
		if err != nil {
			return err
		}
		if len(rest) == len(fresh) && len(back) == 0 {
			w.pause()
		}
		if fresh = append(rest, back...); !w.expired(look) {
			continue
		}
		if fresh, err = f.late(fresh, &free, deadline); err != nil {
			return err
		}
		look = earlier(time.Now().Add(vforkTime), deadline)
	}
	return nil
}

// late deals with those that take their time: some have ended, and nobody
// says so; for those that wait in vfork their children run on.
func (f *Frozen) late(fresh []*Thread, free *freed, deadline time.Time) (rest []*Thread, err error) {
	if time.Now().After(deadline) {
		return nil, fresh[0].late()
	}
	free.looks++
	for _, t := range fresh {
		if errors.Is(t.ended(), ErrGone) {
			f.drop(t)
			continue
		}
		rest = append(rest, t)
		if inVfork(t.tid) {
			if err := free.helpers(f, t, fresh); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

// collect looks once at each and returns those that are still running.
func (f *Frozen) collect(fresh []*Thread) (rest []*Thread, err error) {
	for _, t := range fresh {
		stopped, err := t.tryStop()
		switch {
		case errors.Is(err, ErrGone):
			f.drop(t)
		case err != nil:
			return nil, err
		case !stopped:
			rest = append(rest, t)
		}
	}
	return rest, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// drop forgets a thread that has ended. A leader before other threads of its
// process stays as a zombie.
func (f *Frozen) drop(t *Thread) {
	delete(f.Threads, t.tid)
	if st, err := readStatus(t.tid); err == nil && st.state == 'Z' {
		f.zombie[t.tid] = true
	}
}

// freed are threads that were stopped and run on until the one that waits for
// a child in vfork has stopped. They may call vfork themselves.
type freed struct {
	until map[*Thread]*Thread // the one that waits, by the one that runs
	looks int                 // how often somebody was found waiting
}

// narrowLooks is how often only descendants are let go: the child itself, and
// whomever it may wait for in wait(2). After that it is everybody, since the
// child may wait for anything, such as a pipe.
const narrowLooks = 5

// helpers lets the stopped threads run that t's child may need to come to its
// execve or its end. Those that a signal stopped stay so: t waits for whoever
// lets them go on.
func (free *freed) helpers(f *Frozen, t *Thread, running []*Thread) error {
	for _, c := range f.Threads {
		if c.stop.Kind != StopEvent || slices.Contains(running, c) {
			continue
		}
		if free.looks <= narrowLooks && !descends(c.PID(), t.PID()) {
			continue
		}
		if err := c.resume(0); err != nil && !errors.Is(err, ErrGone) {
			return err
		}
		if free.until == nil {
			free.until = map[*Thread]*Thread{}
		}
		free.until[c] = t
	}
	return nil
}

// catch interrupts those whose parent is stopped, or has ended, and returns
// them. The others go on from whatever stops them meanwhile.
func (free *freed) catch(f *Frozen, running []*Thread) (back []*Thread, err error) {
	for c, t := range free.until {
		if slices.Contains(running, t) {
			err = free.goOn(f, c)
		} else {
			delete(free.until, c)
			back = append(back, c)
			err = c.interrupt()
		}
		if err != nil && !errors.Is(err, ErrGone) {
			return nil, err
		}
	}
	return back, nil
}

// goOn lets a freed thread run again if something has stopped it.
func (free *freed) goOn(f *Frozen, c *Thread) error {
	ev, stopped, err := c.poll()
	switch {
	case errors.Is(err, ErrGone):
		delete(free.until, c)
		f.drop(c)
		return nil
	case err != nil || !stopped:
		return err
	case ev.Event == unix.PTRACE_EVENT_STOP && ev.Signal != int(unix.SIGTRAP):
		delete(free.until, c)
		_, err := c.arrive(ev) // stopped by a signal, and so it stays
		return err
	}
	return c.pass(ev)
}

// descends says whether of is above pid.
func descends(pid, of int) bool {
	for pid > 1 {
		st, err := readStatus(pid)
		if err != nil {
			return false
		}
		if pid = st.parent; pid == of {
			return true
		}
	}
	return false
}

// inVfork says whether the task sleeps in vfork(2) or a clone(2) with
// CLONE_VFORK. Of clone3 the flags are in its memory: any that sleeps so that
// it cannot be interrupted waits for its child.
func inVfork(tid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
	if err != nil {
		return false
	}
	var nr int
	var flags uint64
	if _, err := fmt.Sscanf(string(text), "%d 0x%x", &nr, &flags); err != nil && !strings.HasPrefix(string(text), "58 ") {
		return false
	}
	switch nr {
	case unix.SYS_VFORK, unix.SYS_CLONE3:
		return true
	case unix.SYS_CLONE:
		return flags&unix.CLONE_VFORK != 0
	}
	return false
}

// Thaw lets all threads go, all at about the same time: a thread that runs
// while others of its process are traced is woken by signals that are ignored.
func (f *Frozen) Thaw() error {
	var all error
	note := func(err error) {
		if err != nil && !errors.Is(err, ErrGone) {
			all = errors.Join(all, err)
		}
	}
	f.tr.Do(func() {
		for _, t := range f.Threads {
			note(t.halted())
		}
		for _, t := range f.order() {
			note(t.wrap("detaching", kernelio.PtraceDetach(t.tid, 0)))
			delete(f.Threads, t.tid)
			if t.stop.Kind == StopGroup {
				t.awaitStopped()
			}
		}
	})
	return all
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
