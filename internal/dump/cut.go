package dump

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
)

// Mappings of a parent that grew after a fork are larger than those that its
// children have from it, a heap above all, and mappings with different records
// share nothing. So they are recorded in parts, of which one is what the child
// has. The parts become one mapping again when they are made, since they are
// next to each other and alike (mmap(2) merges them), and since all parts that
// a child inherits were one before it was cloned. That would not be so where
// the child's mapping is the larger one: that stays whole. Only the heap is
// divided then as well: it comes in parts wherever a child's has grown after
// the fork (is_mergeable_anon_vma in mm/vma.c), and nobody minds, since brk(2)
// is all that is done with it.

// heap is the name of what brk(2) made.
const heap = "[heap]"

// maxCuts bounds the parts of a mapping.
const maxCuts = 32

// origin is a mapping that no process of the tree has from its parent: where
// to cut it, and what was inherited of it.
type origin struct{ cuts []uint64 }

// cutting finds where mappings are to be cut.
type cutting struct {
	vmas map[*kind.MMSite][]abi.SmapsVMA
	of   map[*kind.MMSite][]*origin // for each mapping; nil: it can't be cut
}

// readMaps reads the mappings of all address spaces, cut where that lets pages
// be shared.
func (s *session) readMaps() error {
	c := cutting{map[*kind.MMSite][]abi.SmapsVMA{}, map[*kind.MMSite][]*origin{}}
	s.vmas = c.vmas
	vmas := make([][]abi.SmapsVMA, len(s.mms))
	err := parallel(len(s.mms), whole, func(i int) (err error) {
		if vmas[i], err = s.byPID[int(s.mms[i].Task.PID)].dir.Smaps(); err != nil {
			err = fmt.Errorf("memory of %s: %w", taskName(s.mms[i].Task), err)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, mm := range s.mms {
		if c.vmas[mm], err = s.leaveOut(mm, vmas[i]); err != nil {
			return err
		}
	}
	if len(s.mms) < 2 {
		return nil
	}
	for _, mm := range s.mms { // parents before children
		c.trace(mm, s.parentOf(mm))
	}
	for _, mm := range s.mms {
		c.cut(mm)
	}
	return nil
}

// parentOf is the address space that a process had its memory from, if it has
// not run another program since: its parent's or, for an orphan, the root's.
func (s *session) parentOf(mm *kind.MMSite) *kind.MMSite {
	p := s.byPID[s.byPID[int(mm.Task.PID)].ppid]
	if p == nil {
		p = s.procs[0]
	}
	if p.site == nil || p.site.MM == mm {
		return nil
	}
	return p.site.MM
}

// trace finds the origin of each mapping of mm, and notes where the mapping
// begins and ends inside of it.
func (c *cutting) trace(mm, parent *kind.MMSite) {
	above := c.vmas[parent]
	for i := range c.vmas[mm] {
		v := &c.vmas[mm][i]
		if !divisible(v) {
			c.of[mm] = append(c.of[mm], nil)
			continue
		}
		o := &origin{}
		k, _ := slices.BinarySearchFunc(above, v.Start, func(w abi.SmapsVMA, at uint64) int {
			if w.End <= at {
				return -1
			}
			return 1
		})
		if k < len(above) && above[k].Start < v.End && c.of[parent][k] != nil {
			o = nil // part of what its parent has, or more than that
			if w := &above[k]; w.Start <= v.Start && (v.End <= w.End || v.Path == heap) && like(v, w) {
				o = c.of[parent][k]
				o.add(v.Start)
				o.add(min(v.End, w.End))
			}
		}
		c.of[mm] = append(c.of[mm], o)
	}
}

func (o *origin) add(at uint64) {
	if !slices.Contains(o.cuts, at) && len(o.cuts) <= maxCuts {
		o.cuts = append(o.cuts, at)
	}
}

// divisible says whether a mapping may be recorded in parts: what is anonymous
// and has pages is, and what needs no other treatment for having some.
func divisible(v *abi.SmapsVMA) bool {
	const not = abi.VMFlagShared | abi.VMFlagHugeTLB | abi.VMFlagGrowsDown | abi.VMFlagIO | abi.VMFlagPFNMap
	return v.Inode == 0 && v.Anonymous+v.Swap > 0 && v.Flags.Has(abi.VMFlagWrite) && v.Flags&not == 0
}

// like says whether two mappings differ in their places only.
func like(v, w *abi.SmapsVMA) bool {
	const passing = abi.VMFlagSoftDirty | abi.VMFlagMaybeGuard
	return v.Flags&^passing == w.Flags&^passing && v.Prot == w.Prot && v.Path == w.Path && v.ProtectionKey == w.ProtectionKey
}

// cut divides the mappings of mm at the cuts of their origins.
func (c *cutting) cut(mm *kind.MMSite) {
	var out []abi.SmapsVMA
	for i, v := range c.vmas[mm] {
		o := c.of[mm][i]
		if o == nil || len(o.cuts) == 0 || len(o.cuts) > maxCuts {
			out = append(out, v)
			continue
		}
		slices.Sort(o.cuts)
		for _, at := range o.cuts {
			if at > v.Start && at < v.End {
				part := v
				part.End, v.Start = at, at
				out = append(out, part)
			}
		}
		out = append(out, v)
	}
	c.vmas[mm] = out
}
