package dump

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// How many pieces of work make it worthwhile to call a further processor: some
// hundred microseconds.
const (
	whole = 2   // pieces that take a walk through an address space
	large = 16  // pieces that ask the kernel
	small = 256 // pieces that only look at what is known
)

// parallel calls f with 0 to n-1, in no order, with a further processor for
// each so many of them. It returns an error if any call does, one of those.
func parallel(n, each int, f func(i int) error) error {
	var next atomic.Int64
	var first error
	var once sync.Once
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := f(i); err != nil {
				once.Do(func() { first = err })
				next.Store(int64(n))
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n/each) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	return first
}
