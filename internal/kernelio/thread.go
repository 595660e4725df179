package kernelio

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// onThrowawayThread runs f on a locked thread and waits for that thread's end.
// The process's first thread cannot end, so that it is never taken: while a
// goroutine holds it locked, another one is sure to run elsewhere.
func onThrowawayThread(f func() error) error {
	tid, done := 0, make(chan error, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if tid = unix.Gettid(); tid != unix.Getpid() {
			done <- f()
			return // still locked: the thread ends
		}
		defer runtime.UnlockOSThread()
		other := make(chan struct{})
		go func() { defer close(other); run() }()
		<-other
	}
	go run()
	err := <-done
	for unix.Tgkill(unix.Getpid(), tid, 0) == nil {
		time.Sleep(10 * time.Microsecond)
	}
	return err
}
