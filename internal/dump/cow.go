package dump

import (
	"bytes"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// forked is what fork left shared of an address space.
type forked struct {
	from   uint32 // the address space that it is cloned from
	shared image.Extents
	lent   []donation
	taken  image.Extents // what need not be filled when all are cloned
}

// donation is where a page that an address space lends is to be had.
type donation struct {
	image.Extent
	from *kind.MMSite
}

// lineage is one mapping that a process and others cloned from it have at the
// same place and with the same properties, all records the same. Where their
// pages are the same as well, fork left them shared.
type lineage struct {
	members []*kind.MappingSite // each behind the one that it is cloned from
	up      []int               // index of that one, -1 for the first
}

// findShared compares the pages of processes with those that they will be
// cloned from (ancestry.go). A tree without forks has nothing to compare.
func (s *session) findShared(tasks []kind.TaskNode) error {
	from := ancestry(tasks)
	if len(from) == 0 {
		return nil
	}
	s.forks = map[*kind.MMSite]*forked{}
	for _, mm := range s.mms {
		s.forks[mm] = &forked{from: from[mm.ID]}
	}
	c := comparison{session: s, maps: map[*kind.MMSite]*kernelio.Pagemap{}}
	defer c.close()
	for _, f := range s.lineages(from) {
		if err := c.compare(f); err != nil {
			return err
		}
	}
	for _, mm := range s.mms {
		s.forks[mm].settle(s, mm)
	}
	return nil
}

// lineages finds the mappings that were inherited.
func (s *session) lineages(from map[uint32]uint32) []*lineage {
	var out []*lineage
	records := s.mappingRecords()
	of := map[*kind.MappingSite]*lineage{}
	for _, mm := range s.mms {
		if from[mm.ID] == 0 {
			continue
		}
		above := s.mms[from[mm.ID]-1].Mappings
		for _, m := range mm.Mappings {
			for len(above) > 0 && above[0].VMA.Start < m.VMA.Start {
				above = above[1:]
			}
			if len(above) == 0 || !s.mayInherit(m, above[0]) || !sameRecords(records[m.ID], records[above[0].ID]) {
				continue
			}
			f := of[above[0]]
			if f == nil {
				f = &lineage{members: []*kind.MappingSite{above[0]}, up: []int{-1}}
				of[above[0]] = f
				out = append(out, f)
			}
			of[m] = f
			f.up = append(f.up, slices.Index(f.members, above[0]))
			f.members = append(f.members, m)
		}
	}
	return out
}

// mayInherit says whether m may have pages from the mapping above. Huge pages
// of hugetlbfs are reserved for each process, and not shared again.
func (s *session) mayInherit(m, above *kind.MappingSite) bool {
	v, w := &m.VMA, &above.VMA
	return v.Start == w.Start && v.End == w.End && private(m) && private(above) && !v.Flags.Has(abi.VMFlagHugeTLB) &&
		len(s.pages[m.MM].Clip(v.Start, v.End)) > 0 && len(s.pages[above.MM].Clip(v.Start, v.End)) > 0
}

func (s *session) mappingRecords() map[uint32][]image.Record {
	out := map[uint32][]image.Record{}
	for _, r := range s.records {
		if plan.Site(r.Site) == plan.Mapping {
			out[r.ID] = append(out[r.ID], r)
		}
	}
	return out
}

// sameRecords says whether two objects are alike but for their numbers.
func sameRecords(a, b []image.Record) bool {
	return slices.EqualFunc(a, b, func(x, y image.Record) bool {
		return x.Kind == y.Kind && x.Version == y.Version && bytes.Equal(x.Body, y.Body)
	})
}

// settle puts what was found into order, and takes it from the pages that are
// filled last.
func (f *forked) settle(s *session, mm *kind.MMSite) {
	byAddress := func(a, b image.Extent) int {
		if a.Off < b.Off {
			return -1
		}
		return 1
	}
	slices.SortFunc(f.shared, byAddress)
	slices.SortFunc(f.lent, func(a, b donation) int { return byAddress(a.Extent, b.Extent) })
	slices.SortFunc(f.taken, byAddress)
	f.shared = rejoin(f.shared)
	s.pages[mm] = s.pages[mm].Minus(rejoin(f.taken))
}

func rejoin(x image.Extents) image.Extents {
	out := x[:0:0]
	for _, e := range x {
		out = out.Join(e)
	}
	return out
}
