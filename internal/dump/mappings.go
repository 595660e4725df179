package dump

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// gatherMMs lists the mappings of every address space, with the inodes
// behind them and the pages that must travel.
func (s *session) gatherMMs() error {
	s.pages = map[*kind.MMSite]image.Extents{}
	if err := s.readMaps(); err != nil {
		return err
	}
	for _, mm := range s.mms {
		if err := s.gatherMM(mm); err != nil {
			return fmt.Errorf("memory of %s: %w", taskName(mm.Task), err)
		}
	}
	if err := s.scanAll(); err != nil {
		return err
	}
	return s.measure()
}

func (s *session) gatherMM(mm *kind.MMSite) error {
	var err error
	if mm.Exe, err = s.inodeAt(mm.Task, "exe", unix.O_RDONLY); err != nil {
		return err
	}
	files := map[mappedFile]*kind.InodeSite{}
	for _, v := range s.vmas[mm] {
		m := &kind.MappingSite{ID: uint32(len(s.mappings) + 1), MM: mm, VMA: v}
		if v.Inode != 0 {
			if m.Inode, err = s.mapped(mm.Task, v, files); err != nil {
				if err := s.unreached(m, err); err != nil {
					return err
				}
				continue
			}
			m.Inode.Mappings = append(m.Inode.Mappings, m)
		}
		s.mappings = append(s.mappings, m)
		mm.Mappings = append(mm.Mappings, m)
	}
	return nil
}

// scanAll finds the pages that must travel.
func (s *session) scanAll() error {
	pages := make([]image.Extents, len(s.mms))
	err := parallel(len(s.mms), whole, func(i int) (err error) {
		if pages[i], err = s.scan(s.mms[i]); err != nil {
			err = fmt.Errorf("memory of %s: %w", taskName(s.mms[i].Task), err)
		}
		return err
	})
	for i, mm := range s.mms {
		s.pages[mm] = pages[i]
	}
	return err
}

// scan finds the pages of an address space that must travel, and the guard
// pages (MADV_GUARD_INSTALL) of its mappings. It asks in one call for all
// mappings between two that are not private, except of an old kernel, which the
// first call, for one mapping, finds out.
func (s *session) scan(mm *kind.MMSite) (pages image.Extents, err error) {
	pm, err := s.byPID[int(mm.Task.PID)].dir.Pagemap()
	if err != nil {
		return nil, err
	}
	defer pm.Close()
	asked := false
	for rest := mm.Mappings; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(m *kind.MappingSite) bool { return !private(m) })
		if n == 0 {
			rest = rest[1:]
			continue
		}
		if n < 0 {
			n = len(rest)
		}
		if !asked || pm.OneByOne() {
			n, asked = 1, true
		}
		regions, err := pm.Scan(rest[0].VMA.Start, rest[n-1].VMA.End, wanted)
		if err != nil {
			return nil, err
		}
		for _, r := range regions {
			if r.Categories&abi.PageIsGuard != 0 {
				guard(rest[:n], r)
				continue
			}
			for _, x := range without(r.Start, r.End, s.left[mm]) {
				pages = join(pages, x)
			}
		}
		rest = rest[n:]
	}
	return pages, nil
}

// guard notes guard pages at the mappings that they are of.
func guard(among []*kind.MappingSite, r abi.PageRegion) {
	first := sort.Search(len(among), func(i int) bool { return among[i].VMA.End > r.Start })
	for _, m := range among[first:] {
		if m.VMA.Start >= r.End {
			break
		}
		m.Guards = append(m.Guards, [2]uint64{max(r.Start, m.VMA.Start), min(r.End, m.VMA.End)})
	}
}

// wanted asks for the pages that hold what no file holds (anonymous, in
// memory or in swap, not the shared page of zeroes) and for guard pages
// (PAGEMAP_SCAN, Documentation/admin-guide/mm/pagemap.rst).
var wanted = abi.PMScanArg{
	Inverted: abi.PageIsFile | abi.PageIsPFNZero,
	Mask:     abi.PageIsFile | abi.PageIsPFNZero,
	AnyOf:    abi.PageIsPresent | abi.PageIsSwapped | abi.PageIsGuard,
	Return:   abi.PageIsGuard,
}

// private says whether the pages of a mapping belong to its address space
// alone, so that no file gives them back.
func private(m *kind.MappingSite) bool {
	if m.VMA.Flags.Has(abi.VMFlagDroppable) {
		return false // whoever has it expects to find it empty (MAP_DROPPABLE, mmap(2))
	}
	return !m.VMA.Shared && !strings.HasPrefix(m.VMA.Path, "[v") && !m.VMA.Flags.Has(abi.VMFlagIO)
}

// join appends an extent, making one of neighbours.
func join(x image.Extents, e image.Extent) image.Extents {
	if n := len(x); n > 0 && x[n-1].End() == e.Off {
		x[n-1].Len += e.Len
		return x
	}
	return append(x, e)
}
