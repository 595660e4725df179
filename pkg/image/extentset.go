package image

import "slices"

// Join appends an extent that begins where x ends or later, and makes one of
// neighbours.
func (x Extents) Join(e Extent) Extents {
	if n := len(x); n > 0 && x[n-1].End() == e.Off {
		x[n-1].Len += e.Len
		return x
	}
	return append(x, e)
}

// Clip returns the part of x that lies in [start, end).
func (x Extents) Clip(start, end uint64) Extents {
	var out Extents
	for _, e := range x[x.search(start):] {
		from := max(e.Off, start)
		if from >= end {
			break
		}
		out = append(out, Extent{from, min(e.End(), end) - from})
	}
	return out
}

// search returns the index of the first extent that ends behind off.
func (x Extents) search(off uint64) int {
	i, _ := slices.BinarySearchFunc(x, off, func(e Extent, off uint64) int {
		if e.End() <= off {
			return -1
		}
		return 1
	})
	return i
}

// Minus returns the part of x that does not lie in y.
func (x Extents) Minus(y Extents) Extents {
	if len(x) == 0 || len(y) == 0 {
		return x
	}
	var out Extents
	y = y[y.search(x[0].Off):]
	for _, e := range x {
		for len(y) > 0 && y[0].End() <= e.Off {
			y = y[1:]
		}
		at := e.Off
		for _, cut := range y {
			if cut.Off >= e.End() {
				break
			}
			if cut.Off > at {
				out = append(out, Extent{at, cut.Off - at})
			}
			at = min(cut.End(), e.End())
		}
		if at < e.End() {
			out = append(out, Extent{at, e.End() - at})
		}
	}
	return out
}

// Plus returns what lies in x or y, which have nothing in common, and whether
// that is so.
func (x Extents) Plus(y Extents) (sum Extents, disjoint bool) {
	var end uint64
	for len(x) > 0 || len(y) > 0 {
		if len(x) == 0 || len(y) > 0 && y[0].Off < x[0].Off {
			x, y = y, x
		}
		if x[0].Off < end {
			return nil, false
		}
		end = x[0].End()
		sum, x = sum.Join(x[0]), x[1:]
	}
	return sum, true
}
