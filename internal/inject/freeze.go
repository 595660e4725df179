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

// Frozen is a tree of which every thread is stopped.
type Frozen struct {
	Threads map[int]*Thread // by TID
	Zombies []int           // TIDs that have ended but are not reaped
	zombie  map[int]bool
	tr      *Tracer
	opts    Options
	burial  burial
	denied  map[int]int // how often the kernel would not have a task seized
}

// Freeze seizes and stops all tasks that list names; it asks again until no
// new one shows, since what runs may clone. Tasks that end meanwhile are left
// out. When it fails, everything runs on.
func (tr *Tracer) Freeze(list func() ([]int, error), o Options, deadline time.Time) (*Frozen, error) {
	f := &Frozen{tr: tr, opts: o, Threads: map[int]*Thread{}, zombie: map[int]bool{}, denied: map[int]int{}}
	defer f.burial.watch()()
	err := tr.try(func() error { return f.freeze(list, deadline) })
	if err != nil {
		return nil, errors.Join(err, f.Thaw())
	}
	f.noteZombies()
	return f, nil
}

// Extend freezes more tasks, as Freeze does, for who learns of them later. When it
// fails, all stay as they are.
func (f *Frozen) Extend(list func() ([]int, error), deadline time.Time) error {
	defer f.burial.watch()()
	err := f.tr.try(func() error { return f.freeze(list, deadline) })
	f.noteZombies()
	return err
}

func (f *Frozen) noteZombies() {
	f.Zombies = slices.Collect(maps.Keys(f.zombie))
}

func (f *Frozen) freeze(list func() ([]int, error), deadline time.Time) error {
	for {
		tids, err := list()
		if err != nil {
			return err
		}
		fresh, again, err := f.seize(tids)
		if err != nil {
			return err
		}
		if len(fresh) == 0 && !again {
			if f.settled() {
				return nil
			}
			fresh = f.review()
		}
		if err := f.stop(fresh, deadline); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("its threads come and go: %w", ErrDeadline)
		}
	}
}

// seize seizes and interrupts those that are not known yet. It says whether to
// look again, as some were not to be had: while a thread calls execve(2) a list
// may have it with a number that it has no more, and not with its new one.
func (f *Frozen) seize(tids []int) (fresh []*Thread, again bool, err error) {
	for _, tid := range tids {
		if f.Threads[tid] != nil || f.zombie[tid] {
			continue
		}
		t, err := f.take(tid)
		switch {
		case err == nil:
			f.Threads[tid] = t
			fresh = append(fresh, t)
		case f.hasEnded(tid, err):
		case errors.Is(err, ErrGone), f.mayChange(tid, err):
			again = true
		default:
			return nil, false, err
		}
	}
	return fresh, again, nil
}

// take seizes a task and has it stop. A task may have been seized before under
// another number: a thread that calls execve(2) gets that of its process's first.
func (f *Frozen) take(tid int) (*Thread, error) {
	t, err := f.tr.Seize(tid, f.opts)
	var traced *TracedError
	if errors.As(err, &traced) && traced.By == f.tr.tid {
		t, err = &Thread{tr: f.tr, tid: tid, opts: f.opts}, nil
	}
	if err != nil {
		return nil, err
	}
	f.burial.add(tid)
	return t, t.interrupt()
}

// hasEnded takes note of tasks that have ended and stay as zombies.
func (f *Frozen) hasEnded(tid int, err error) bool {
	var z *ZombieError
	if !errors.As(err, &z) {
		return false
	}
	f.zombie[tid] = true
	return true
}

// deniedTimes is how often a task is tried that the kernel will not have
// seized, and deniedTime how long it is left alone in between.
const (
	deniedTimes = 20
	deniedTime  = time.Millisecond
)

// mayChange gives a task time that is refused without a reason that shows: the
// kernel says EPERM too of one that has ended when its turn comes, and by then
// its number may be another's.
func (f *Frozen) mayChange(tid int, err error) bool {
	if f.denied[tid]++; !errors.Is(err, unix.EPERM) || f.denied[tid] > deniedTimes {
		return false
	}
	time.Sleep(deniedTime)
	return true
}

// settled says whether all are as they were found: execve(2) ends all other
// threads of a process, stopped or ended as they are, and leaves the one that
// called it with the number of the first.
func (f *Frozen) settled() bool {
	for tid := range f.Threads {
		if ev, ok, err := kernelio.PtraceWait(tid, false); err != nil || !ok || ev.Exited {
			return false
		}
	}
	for tid := range f.zombie {
		if lives(tid) {
			return false
		}
	}
	return true
}

func lives(tid int) bool {
	st, err := readStatus(tid)
	return err == nil && st.state != 'Z' && st.state != 'X'
}

// review forgets those that are not what they were found to be, and returns
// those whose stop is to be seen anew.
func (f *Frozen) review() (fresh []*Thread) {
	for tid := range f.zombie {
		if lives(tid) {
			delete(f.zombie, tid)
		}
	}
	for tid, t := range f.Threads {
		st, err := readStatus(tid)
		switch {
		case err != nil || st.state == 'Z' || st.state == 'X':
			kernelio.ReapTracee(tid)
			f.drop(t)
		case st.tracer != f.tr.tid || st.state != 't':
			delete(f.Threads, tid)
		case tid == st.tgid && !t.asSmoothed():
			f.Threads[tid] = &Thread{tr: f.tr, tid: tid, opts: f.opts}
			fresh = append(fresh, f.Threads[tid])
		}
	}
	return fresh
}

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
		if errors.Is(t.remind(), ErrGone) {
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

// remind asks a thread to stop once more: one that calls execve may forget
// about it (seen on Linux 6.18). If it has ended the error wraps ErrGone, also if
// no wait says so because what has its number now is the tool's child.
func (t *Thread) remind() error {
	if err := t.ended(); err != nil {
		return err
	}
	st, err := readStatus(t.tid)
	if err != nil || st.tracer != t.tr.tid {
		return t.gone()
	}
	if st.state == 't' {
		return nil
	}
	return t.interrupt()
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
