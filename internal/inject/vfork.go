package inject

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// vforkTime is how long threads may take before it is looked at which of them
// wait in vfork(2): such a thread does not stop before its child has called
// execve or ended.
const vforkTime = 20 * time.Millisecond

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
