package restore

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// fork is what an address space and those that are cloned from it share, copy
// on write.
type fork struct {
	born  image.Extents   // pages that those find which are cloned from it
	keep  []place         // mappings that it has from the one that it is cloned from
	drop  image.Extents   // pages in these that it does not share
	lends map[uint32]bool // its mappings that others keep
}

// place is where a mapping lies.
type place struct {
	image.Extent
	id uint32
}

// checkShared refuses sharing that no dump can have found: with another
// address space than that from which the process is cloned, of pages that this
// one does not have by then, or in mappings that are not alike. It leaves
// c.forks nil if the tree shares nothing.
func (c *content) checkShared() error {
	shares := func(m kind.MMNode) bool { return m.From != 0 || len(m.Shared) > 0 || m.Lent != 0 }
	if !slices.ContainsFunc(c.tree.MMs, shares) {
		return nil
	}
	c.forks = map[uint32]*fork{}
	index := c.indexMappings()
	for i := range c.tree.Tasks { // whoever is cloned stands behind its cloner
		t := &c.tree.Tasks[i]
		if !alive(t) || c.forks[t.MM] != nil {
			continue
		}
		if err := c.checkFork(t, index); err != nil {
			return fmt.Errorf("memory of process %d: %w", t.PID, err)
		}
	}
	for id, f := range c.forks {
		if err := c.checkKept(c.mms[id], f, index); err != nil {
			return fmt.Errorf("address space %d: %w", id, err)
		}
	}
	return nil
}

// mappingIndex knows the records of mappings.
type mappingIndex struct {
	at      map[uint32]image.Extent // where each lies that says so
	records map[uint32][]*image.Record
	ranges  map[*kind.MMNode]map[image.Extent]uint32
}

// of finds the mappings of an address space by where they lie.
func (x mappingIndex) of(mm *kind.MMNode) map[image.Extent]uint32 {
	if x.ranges[mm] == nil {
		x.ranges[mm] = map[image.Extent]uint32{}
		for id := mm.First; id < mm.First+mm.Mappings; id++ {
			x.ranges[mm][x.at[id]] = id
		}
	}
	return x.ranges[mm]
}

func (c *content) indexMappings() mappingIndex {
	x := mappingIndex{map[uint32]image.Extent{}, map[uint32][]*image.Record{}, map[*kind.MMNode]map[image.Extent]uint32{}}
	for i, r := range c.records {
		if r.ref.Site != plan.Mapping {
			continue
		}
		x.records[r.ref.ID] = append(x.records[r.ref.ID], &c.manifest.Records[i])
		if ranged, ok := r.body.(kind.Ranged); ok && r.kind.Claims() {
			start, end := ranged.Range()
			x.at[r.ref.ID] = image.Extent{Off: start, Len: end - start}
		}
	}
	return x
}

// same says whether two mappings are alike but for their numbers.
func (x mappingIndex) same(a, b uint32) bool {
	return slices.EqualFunc(x.records[a], x.records[b], func(p, q *image.Record) bool {
		return p.Kind == q.Kind && p.Version == q.Version && bytes.Equal(p.Body, q.Body)
	})
}

// checkFork checks what the address space of its first process shares with
// that of the one that clones it.
func (c *content) checkFork(t *kind.TaskNode, x mappingIndex) error {
	mm, f := c.mms[t.MM], &fork{lends: map[uint32]bool{}}
	c.forks[t.MM] = f
	if err := mm.Shared.Check(); err != nil {
		return err
	}
	lent, err := c.lentBy(mm)
	if err != nil {
		return err
	}
	var disjoint bool
	if f.born, disjoint = mm.Shared.Plus(lent); !disjoint {
		return fmt.Errorf("it lends pages that it shares")
	}
	if !inside(f.born, mm.Used) || !wholePages(f.born) {
		return fmt.Errorf("it shares pages where it has no memory")
	}
	if mm.From == 0 && len(mm.Shared) == 0 {
		return nil
	}
	m := c.cloner[t]
	if m == nil || m.MM != mm.From || !inside(mm.Shared, c.forks[mm.From].born) {
		return fmt.Errorf("it shares pages that address space %d, from which it is to be cloned, does not have", mm.From)
	}
	return c.findKept(mm, f, x)
}

func (c *content) lentBy(mm *kind.MMNode) (image.Extents, error) {
	if int(mm.Lent) > len(c.manifest.Blobs) {
		return nil, fmt.Errorf("the pages that it lends are blob %d of %d", mm.Lent, len(c.manifest.Blobs))
	}
	if mm.Lent == 0 {
		return nil, nil
	}
	return c.manifest.Blobs[mm.Lent-1].Extents, nil
}

func wholePages(x image.Extents) bool {
	const pageSize = 4096
	return !slices.ContainsFunc(x, func(e image.Extent) bool { return e.Off%pageSize != 0 || e.Len%pageSize != 0 })
}

// findKept finds the mappings that hold shared pages, and their likes in the
// address space that they come from.
func (c *content) findKept(mm *kind.MMNode, f *fork, x mappingIndex) error {
	for id := mm.First; id < mm.First+mm.Mappings; id++ {
		at := x.at[id]
		if at.Len == 0 || len(mm.Shared.Clip(at.Off, at.End())) == 0 {
			continue
		}
		like := x.of(c.mms[mm.From])[at]
		if like == 0 || !x.same(id, like) {
			return fmt.Errorf("it shares pages at %x, where address space %d has another mapping", at.Off, mm.From)
		}
		c.forks[mm.From].lends[like] = true
		f.keep = append(f.keep, place{at, id})
	}
	if !inside(mm.Shared, ranges(f.keep)) {
		return fmt.Errorf("it shares pages where it has no mapping")
	}
	return nil
}

// keepMore has an address space keep the other mappings as well that are there
// when it is cloned and that it has too: mappings next to each other stay one.
func (c *content) keepMore(mm *kind.MMNode, f *fork, x mappingIndex) error {
	from := c.forks[mm.From]
	for id := mm.First; id < mm.First+mm.Mappings; id++ {
		at := x.at[id]
		like := x.of(c.mms[mm.From])[at]
		if at.Len > 0 && from.lends[like] && x.same(id, like) && len(mm.Shared.Clip(at.Off, at.End())) == 0 {
			f.keep = append(f.keep, place{at, id})
		}
	}
	kept := ranges(f.keep)
	if kept.Check() != nil || !inside(kept, mm.Used) {
		return fmt.Errorf("its mappings are not where it has memory")
	}
	for _, k := range kept {
		f.drop = append(f.drop, from.born.Clip(k.Off, k.End()).Minus(mm.Shared)...)
	}
	return nil
}

// ranges sorts places by their addresses, and gives these.
func ranges(places []place) (x image.Extents) {
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.Off, b.Off) })
	for _, p := range places {
		x = append(x, p.Extent)
	}
	return x
}

// checkKept: pages that are lent lie in mappings that are there by then.
func (c *content) checkKept(mm *kind.MMNode, f *fork, x mappingIndex) error {
	if mm.From != 0 {
		if err := c.keepMore(mm, f, x); err != nil {
			return err
		}
	}
	lent, err := c.lentBy(mm)
	if err != nil {
		return err
	}
	var places []place
	for id := range f.lends {
		places = append(places, place{x.at[id], id})
	}
	if !inside(lent, ranges(places)) {
		return fmt.Errorf("it lends pages to nobody")
	}
	return nil
}
