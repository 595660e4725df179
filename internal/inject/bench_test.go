package inject

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkInject tells the least cost of each part of a dump, in a process of so
// many threads.
func BenchmarkInject(b *testing.B) {
	for _, n := range []int{1, 12} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchInject(b, n) })
	}
}

func benchInject(b *testing.B, n int) {
	modes := make([]string, n)
	for i := range modes {
		modes[i] = "naps"
	}
	tg := startTarget(b, build(b, "target"), modes...)
	tr := NewTracer()
	defer tr.Close()
	var best [6]time.Duration
	for b.Loop() {
		tr.Do(func() {
			at := time.Now()
			lap := func(i int, err error) {
				if err != nil {
					b.Fatal(err)
				}
				now := time.Now()
				if took := now.Sub(at); best[i] == 0 || took < best[i] {
					best[i] = took
				}
				at = now
			}
			f, err := tr.Freeze(lister(tg.pid()), 0, soon())
			lap(0, err)
			s, err := Open(f.Threads[tg.pid()], uint64(64<<10+n*SlotSize))
			lap(1, err)
			lap(2, s.Run(f.Threads[tg.pid()], asks()))
			lap(3, runAll(s, f))
			lap(4, s.Close())
			lap(5, f.Thaw())
		})
	}
	for i, name := range []string{"freeze", "open", "run", "all", "close", "thaw"} {
		b.ReportMetric(float64(best[i].Microseconds()), name+"-us")
	}
}
