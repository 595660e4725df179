package inject

import (
	"fmt"
	"slices"
)

// heap hands out pieces of a range of addresses, aligned to 64 bytes.
type heap struct {
	lo, hi uint64
	free   []span // in ascending order, never touching
}

type span struct{ lo, hi uint64 }

func newHeap(lo, hi uint64) heap {
	return heap{lo: lo, hi: hi, free: []span{{lo, hi}}}
}

func rounded(n int) uint64 { return (uint64(n) + align - 1) &^ (align - 1) }

// take finds the first piece of n bytes.
func (h *heap) take(n int) (uint64, error) {
	for i := range h.free {
		f := &h.free[i]
		if f.hi-f.lo < rounded(n) {
			continue
		}
		at := f.lo
		if f.lo += rounded(n); f.lo == f.hi {
			h.free = slices.Delete(h.free, i, i+1)
		}
		return at, nil
	}
	return 0, fmt.Errorf("a program needs %d bytes; the space of %d has no such piece free", n, h.hi-h.lo)
}

// give takes a piece back.
func (h *heap) give(at uint64, n int) {
	s := span{at, at + rounded(n)}
	i, _ := slices.BinarySearchFunc(h.free, s, func(a, b span) int { return compare(a.lo, b.lo) })
	h.free = slices.Insert(h.free, i, s)
	if i+1 < len(h.free) && h.free[i].hi == h.free[i+1].lo {
		h.free[i].hi = h.free[i+1].hi
		h.free = slices.Delete(h.free, i+1, i+2)
	}
	if i > 0 && h.free[i-1].hi == h.free[i].lo {
		h.free[i-1].hi = h.free[i].hi
		h.free = slices.Delete(h.free, i, i+1)
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
