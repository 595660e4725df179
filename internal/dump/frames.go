package dump

import (
	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// pageSize is that of the entries of pagemap.
const pageSize = 4096

// comparePages is how many pages of a lineage are compared at a time.
const comparePages = 4096

// comparison looks which processes have the same page, by the page frames
// (or the places in swap) in their pagemaps. Without CAP_SYS_ADMIN the kernel
// shows none, and nothing is known to be shared.
type comparison struct {
	*session
	maps  map[*kind.MMSite]*kernelio.Pagemap
	blind bool
}

func (c *comparison) close() {
	for _, m := range c.maps {
		m.Close()
	}
}

// compare goes through the pages of a lineage, leaving out the stretches where
// at most one member has any.
func (c *comparison) compare(f *lineage) error {
	v := &f.members[0].VMA
	for at := v.Start; at < v.End && !c.blind; {
		start, ok := c.next(f, at)
		if !ok {
			return nil
		}
		at = min(start+comparePages*pageSize, v.End)
		if err := c.window(f, start, at); err != nil {
			return err
		}
	}
	return nil
}

// next finds the first page from at on that any member has.
func (c *comparison) next(f *lineage, at uint64) (first uint64, ok bool) {
	for _, m := range f.members {
		if x := c.pages[m.MM].Clip(at, m.VMA.End); len(x) > 0 && (!ok || x[0].Off < first) {
			first, ok = x[0].Off, true
		}
	}
	return first, ok
}

// frames are where the pages of one member are, one entry for each page of
// the window; 0 where it has none of its own.
type frames []abi.PagemapEntry

// window compares the pages in [start, end).
func (c *comparison) window(f *lineage, start, end uint64) error {
	all := make([]frames, len(f.members))
	some := 0
	for i, m := range f.members {
		have := c.pages[m.MM].Clip(start, end)
		if len(have) > 0 {
			some++
		}
		var err error
		if all[i], err = c.frames(m.MM, have, start, end); err != nil {
			return err
		}
	}
	if some < 2 || !alike(all) {
		return nil
	}
	if err := c.again(f, all, start, end); err != nil {
		return err
	}
	c.decide(f, all, start)
	return nil
}

// again reads all entries another time, and forgets those that changed: the
// kernel may move pages at any time. What two processes showed alternately,
// twice each, was the same page when one of them was looked at.
func (c *comparison) again(f *lineage, all []frames, start, end uint64) error {
	for i, m := range f.members {
		now, err := c.frames(m.MM, c.pages[m.MM].Clip(start, end), start, end)
		if err != nil {
			return err
		}
		for k := range now {
			if now[k] != all[i][k] {
				all[i][k] = unknown
			}
		}
	}
	return nil
}

// unknown stands for a page that is like no other.
const unknown = abi.PagemapEntry(1)

// place are the bits of an entry that say where a page is: the frame or the
// place in swap, and which of the two (Documentation/admin-guide/mm/pagemap.rst).
const place = 1<<55 - 1 | 1<<62 | 1<<63

// frames reads the entries of the pages that lie in have.
func (c *comparison) frames(mm *kind.MMSite, have image.Extents, start, end uint64) (frames, error) {
	out := make(frames, (end-start)/pageSize)
	if len(have) == 0 {
		return out, nil
	}
	pm := c.maps[mm]
	if pm == nil {
		var err error
		if pm, err = c.byPID[int(mm.Task.PID)].dir.Pagemap(); err != nil {
			return nil, err
		}
		c.maps[mm] = pm
	}
	first, last := have[0].Off, have[len(have)-1].End()
	entries, err := pm.Entries(first, int((last-first)/pageSize))
	if err != nil {
		return nil, err
	}
	for _, e := range have {
		for at := e.Off; at < e.End(); at += pageSize {
			entry := entries[(at-first)/pageSize] & place
			if entry&(1<<55-1) == 0 {
				entry, c.blind = unknown, true
			}
			out[(at-start)/pageSize] = entry
		}
	}
	return out, nil
}

// alike says whether any page is in two places at once.
func alike(all []frames) bool {
	seen := make(map[abi.PagemapEntry]bool, len(all))
	for k := range all[0] {
		clear(seen)
		for _, f := range all {
			if f[k] > unknown && seen[f[k]] {
				return true
			}
			seen[f[k]] = true
		}
	}
	return false
}

// decide writes down what becomes of each page. Pages in a row are shared in
// the same way more often than not.
func (c *comparison) decide(f *lineage, all []frames, start uint64) {
	class, last := make([]int, len(all)), make([]int, len(all))
	var shares []share
	for k := range all[0] {
		class, last = last, class
		classify(all, k, class)
		if shares == nil || !equal(class, last) {
			shares = inherit(f.up, class)
		}
		at := image.Extent{Off: start + uint64(k)*pageSize, Len: pageSize}
		for i, m := range f.members {
			c.forks[m.MM].note(at, shares[i], class[i] != 0, f)
		}
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// classify numbers the different places at which a page is.
func classify(all []frames, k int, class []int) {
	for i, f := range all {
		class[i] = 0
		if f[k] == 0 {
			continue
		}
		class[i] = i + 1
		for j := range i {
			if f[k] > unknown && all[j][k] == f[k] {
				class[i] = class[j]
				break
			}
		}
	}
}

func (f *forked) note(at image.Extent, s share, has bool, of *lineage) {
	if s.inherits {
		f.shared = f.shared.Join(at)
	}
	if s.lends {
		f.lend(at, of.members[s.donor].MM)
	}
	if has && !s.own {
		f.taken = f.taken.Join(at)
	}
}

func (f *forked) lend(at image.Extent, from *kind.MMSite) {
	if n := len(f.lent); n > 0 && f.lent[n-1].from == from && f.lent[n-1].End() == at.Off {
		f.lent[n-1].Len += at.Len
		return
	}
	f.lent = append(f.lent, donation{at, from})
}
