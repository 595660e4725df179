package harness

import (
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// End is how a child ended and what it used.
type End struct {
	syscall.WaitStatus
	Usage syscall.Rusage
}

// Reaper is the one place where children of this process are waited for: those it started, and orphans of restored trees.
// os/exec's Wait must not be used beside it.
type Reaper struct {
	mu      sync.Mutex // held over fork and registration, and over wait and delivery, so that no status gets lost between
	waiting map[int]chan End
	tick    *sync.Cond
}

// NewReaper makes the process a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) and reaps until it ends.
func NewReaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming a child subreaper: %w", err)
	}
	// What this process inherited beyond its standard streams is nothing that a target should hold.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("marking inherited descriptors close-on-exec: %w", err)
	}
	r := &Reaper{waiting: map[int]chan End{}}
	r.tick = sync.NewCond(&r.mu)
	go r.loop()
	return r, nil
}

func (r *Reaper) loop() {
	for {
		// WNOWAIT: look without taking, so that the taking can be done under the lock.
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		r.mu.Lock()
		if err == unix.ECHILD && len(r.waiting) == 0 {
			r.tick.Wait()
		}
		r.take()
		r.mu.Unlock()
	}
}

// take reaps what is there; the lock is held.
func (r *Reaper) take() {
	for {
		var end End
		pid, err := syscall.Wait4(-1, &end.WaitStatus, syscall.WNOHANG, &end.Usage)
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			c <- end
			delete(r.waiting, pid)
		}
	}
}

// Start runs argv in a session of its own and returns its PID and where its status will come.
func (r *Reaper) Start(argv []string, attr os.ProcAttr) (int, <-chan End, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	attr.Sys = &syscall.SysProcAttr{Setsid: true}
	p, err := os.StartProcess(argv[0], argv, &attr)
	if err != nil {
		return 0, nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	pid := p.Pid // read before Release, which sets it to -1: as an argument of kill(2) that is everybody
	c := make(chan End, 1)
	r.waiting[pid] = c
	r.tick.Broadcast()
	return pid, c, p.Release()
}
