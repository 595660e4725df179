package inject

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Tracer is the one OS thread that may use ptrace on what it seized. When it
// is closed, or the tool dies, the kernel detaches everything.
type Tracer struct {
	tid     int
	work    chan func()
	code    code
	gadgets map[fileID]gadgets
	xsave   [63]uint32 // where the room of each feature of XSAVE ends
	xroom   []byte     // for extended registers on their way
	xsize   int        // of those that the kernel takes; 0: nobody has asked yet
	xhas    uint64     // their features
}

// NewTracer starts the thread. It is never unlocked from its goroutine.
func NewTracer() *Tracer {
	tr := &Tracer{work: make(chan func()), code: newCode(), gadgets: map[fileID]gadgets{}}
	ready := make(chan int)
	go tr.serve(ready)
	tr.tid = <-ready
	return tr
}

// Trace makes the calling goroutine's thread a Tracer for as long as f runs,
// which saves handing over to another one. Other goroutines may not use it,
// and f must let go of all that it seizes.
func Trace(f func(tr *Tracer) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	kernelio.IgnoreStops()
	return f(&Tracer{tid: unix.Gettid(), code: newCode(), gadgets: map[fileID]gadgets{}})
}

// serve never runs on the process's first thread, which does not end when its
// goroutine does: whatever credentials the tracer takes on go with its thread.
func (tr *Tracer) serve(ready chan<- int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		other := make(chan int)
		go tr.serve(other)
		tid := <-other
		runtime.UnlockOSThread()
		ready <- tid
		return
	}
	kernelio.IgnoreStops() // or else live with the signals
	ready <- unix.Gettid()
	for f := range tr.work {
		f()
	}
}

// Close ends the thread; it must not be used after. Threads still seized
// are detached, those with the option ExitKill killed.
func (tr *Tracer) Close() { close(tr.work) }

// Do runs f on the tracer's thread. It may be nested.
func (tr *Tracer) Do(f func()) {
	if unix.Gettid() == tr.tid {
		f()
		return
	}
	if tr.work == nil {
		panic("inject: the Tracer is another goroutine's")
	}
	done := make(chan struct{})
	tr.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// try is Do for a function with an error.
func (tr *Tracer) try(f func() error) (err error) {
	tr.Do(func() { err = f() })
	return err
}
