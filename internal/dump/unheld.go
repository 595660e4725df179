package dump

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// An inode that nobody holds a descriptor of, and no path leads to, can be
// reached by the tree in no way but by its mappings. So what they show is all
// of it that matters: how far it reaches, and what is in it.

const page = 4096

// piece is a part of an inode that a process has mapped: the bytes from Off,
// which are the inode's and not the process's own (copy on write).
type piece struct {
	image.Extent
	addr uint64
	mem  *kernelio.Memory
}

// survey asks a process which pages of a mapping there are (mincore(2)). In
// memory that stands for a file, reading a hole would fill it.
type survey struct {
	m   *kind.MappingSite
	use use
}

// surveyStep is what one call of mincore asks about, in bytes: its answer is a
// byte a page.
const surveyStep = 64 << 20

// measure finds out how large each unheld inode is, as far as it can be seen.
func (s *session) measure() error {
	for _, i := range s.inodes {
		if !i.Unheld {
			continue
		}
		i.Mappings = sharedFirst(i.Mappings)
		size, err := s.visible(i)
		if err != nil {
			return fmt.Errorf("%s: %w", quote(i.Path), err)
		}
		i.Stat.Size = int64(size)
		if i.Stat.FSType == unix.TMPFS_MAGIC || i.Stat.FSType == unix.HUGETLBFS_MAGIC {
			s.held[i].surveys = surveysOf(i)
		}
	}
	return nil
}

// sharedFirst puts the mappings first that show the inode and nothing else.
func sharedFirst(all []*kind.MappingSite) []*kind.MappingSite {
	return slices.SortedStableFunc(slices.Values(all), func(a, b *kind.MappingSite) int {
		return cmp.Compare(order(a), order(b))
	})
}

func order(m *kind.MappingSite) int {
	if m.VMA.Shared {
		return 0
	}
	return 1
}

// visible is the end of the last page of an inode that a mapping shows. Pages
// behind the end of a file can't be read, whatever is mapped there (mmap(2),
// SIGBUS).
func (s *session) visible(i *kind.InodeSite) (uint64, error) {
	end := uint64(0)
	for _, m := range i.Mappings {
		v := &m.VMA
		if v.Offset+v.Len() <= end {
			continue
		}
		if v.Flags.Has(abi.VMFlagHugeTLB) { // never beyond its end; and to look would take pages
			end = v.Offset + v.Len()
			continue
		}
		mem, err := s.memoryOf(m.MM)
		if err != nil {
			return 0, err
		}
		there := func(n int) bool {
			var b [1]byte
			_, err := mem.Peek(b[:], int64(v.Start+uint64(n)*page))
			return err == nil
		}
		n := int(v.Len() / page)
		if !there(n - 1) { // its end is the file's as a rule
			n = sort.Search(n, func(n int) bool { return !there(n) })
		}
		if n > 0 {
			end = max(end, v.Offset+uint64(n)*page)
		}
	}
	return end, nil
}

// memoryOf opens the memory of a process once.
func (s *session) memoryOf(mm *kind.MMSite) (*kernelio.Memory, error) {
	if mem := s.memory[mm]; mem != nil {
		return mem, nil
	}
	mem, err := kernelio.OpenMemory(int(mm.Task.PID))
	if err != nil {
		return nil, err
	}
	s.keep(mem)
	if s.memory == nil {
		s.memory = map[*kind.MMSite]*kernelio.Memory{}
	}
	s.memory[mm] = mem
	return mem, nil
}

// surveysOf makes the questions about an inode. What is mapped privately is
// not asked about: pages of the process's own would be mistaken for the
// inode's.
func surveysOf(i *kind.InodeSite) []*survey {
	var out []*survey
	for _, m := range i.Mappings {
		if !m.VMA.Shared {
			continue
		}
		sv := &survey{m: m}
		for at := m.VMA.Start; at < m.VMA.End; at += surveyStep {
			n := min(surveyStep, m.VMA.End-at)
			sv.use.calls = append(sv.use.calls, plan.Call{Nr: unix.SYS_MINCORE,
				Args: []plan.Arg{plan.Int(at), plan.Int(n), plan.Out(int(n / page))}})
		}
		out = append(out, sv)
	}
	return out
}

// core says which pages of a survey's mapping there are, as extents of
// addresses; ok is false if it can't be told: pages in swap are there too and
// mincore does not count them.
func (s *session) core(sv *survey) (x image.Extents, ok bool, err error) {
	if sv.m.VMA.Swap > 0 {
		return nil, false, nil
	}
	at := sv.m.VMA.Start
	for _, r := range sv.use.asked {
		if r.Ret != 0 {
			return nil, false, nil
		}
		for _, b := range r.Out[0] {
			if b&1 != 0 {
				x = x.Join(image.Extent{Off: at, Len: page})
			}
			at += page
		}
	}
	swapped, err := s.swapped(sv.m)
	return x, !swapped && err == nil, err
}

// swapped looks whether pages of a mapping have gone to swap meanwhile.
func (s *session) swapped(m *kind.MappingSite) (bool, error) {
	all, err := s.byPID[int(m.MM.Task.PID)].dir.Smaps()
	for i := range all {
		if all[i].Start == m.VMA.Start {
			return all[i].Swap > 0, err
		}
	}
	return true, err
}

// unheldContent makes a blob of what the mappings of an inode show of it.
func (s *session) unheldContent(i *kind.InodeSite) (kind.BlobRef, error) {
	var pieces []piece
	var seen image.Extents // of the inode
	for _, m := range i.Mappings {
		shows, err := s.shows(i, m)
		if err != nil {
			return 0, err
		}
		mem, err := s.memoryOf(m.MM)
		if err != nil {
			return 0, err
		}
		window := image.Extents{{Off: m.VMA.Offset, Len: m.VMA.Len()}}
		for _, e := range shows.Minus(seen) {
			pieces = append(pieces, piece{e, m.VMA.Start + e.Off - m.VMA.Offset, mem})
		}
		seen = union(seen, s.vouched(m, window))
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.Off, b.Off) })
	var x image.Extents
	for _, p := range pieces {
		x = x.Join(p.Extent)
	}
	return s.Blob(mosaic(pieces), x)
}

// shows is the part of an inode that a mapping shows and that is no hole.
func (s *session) shows(i *kind.InodeSite, m *kind.MappingSite) (image.Extents, error) {
	v := &m.VMA
	all := s.vouched(m, image.Extents{{Off: v.Offset, Len: v.Len()}}).Clip(0, uint64(i.Stat.Size))
	for _, sv := range s.held[i].surveys {
		if sv.m != m {
			continue
		}
		core, ok, err := s.core(sv)
		if err != nil {
			return nil, err
		}
		if ok {
			return all.Minus(all.Minus(moved(core, v.Start, v.Offset))), nil
		}
	}
	return all, nil
}

// vouched leaves out of a part of an inode what a private mapping hides: pages
// that the process has written.
func (s *session) vouched(m *kind.MappingSite, part image.Extents) image.Extents {
	v := &m.VMA
	return part.Minus(moved(s.pages[m.MM].Clip(v.Start, v.End), v.Start, v.Offset))
}

// moved shifts extents of addresses to offsets of a file.
func moved(x image.Extents, from, to uint64) image.Extents {
	out := make(image.Extents, len(x))
	for i, e := range x {
		out[i] = image.Extent{Off: e.Off - from + to, Len: e.Len}
	}
	return out
}

func union(x, y image.Extents) image.Extents {
	all := append(slices.Clone(x), y.Minus(x)...)
	slices.SortFunc(all, func(a, b image.Extent) int { return cmp.Compare(a.Off, b.Off) })
	return rejoin(all)
}

// mosaic reads an inode where its pieces are mapped. The pieces are sorted.
type mosaic []piece

// ReadAt implements io.ReaderAt for what lies within the pieces.
func (p mosaic) ReadAt(b []byte, off int64) (done int, err error) {
	i := sort.Search(len(p), func(i int) bool { return p[i].End() > uint64(off) })
	for ; done < len(b); i++ {
		at := uint64(off) + uint64(done)
		if i == len(p) || p[i].Off > at {
			return done, io.ErrUnexpectedEOF
		}
		part := b[done:min(uint64(len(b)), uint64(done)+p[i].End()-at)]
		n, err := p[i].mem.Peek(part, int64(p[i].addr+at-p[i].Off))
		if done += n; err != nil {
			return done, fmt.Errorf("reading a mapped file at %x: %w", at, err)
		}
	}
	return done, nil
}
