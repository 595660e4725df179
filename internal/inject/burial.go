package inject

import (
	"sync"
	"time"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// burial reaps threads that die while others of their process are seized. It
// takes a second thread: PTRACE_SEIZE waits for an execve(2) in the process
// (cred_guard_mutex), and that waits until all other threads of the process
// are reaped (de_thread in fs/exec.c), which is for their tracer to do.
type burial struct {
	mu   sync.Mutex
	tids map[int]bool
}

// burialTime is how long a thread may stay dead.
const burialTime = 5 * time.Millisecond

func (b *burial) add(tid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tids == nil {
		b.tids = map[int]bool{}
	}
	b.tids[tid] = true
}

// watch looks after the dead until the function that it returns is called.
func (b *burial) watch() (end func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(burialTime)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				b.bury()
			}
		}
	}()
	return func() { close(done) }
}

func (b *burial) bury() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for tid := range b.tids {
		if kernelio.ReapTracee(tid) {
			delete(b.tids, tid)
		}
	}
}
