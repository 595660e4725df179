package dump

import (
	"io"
	"slices"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// patchwork is memory that is read from several processes: each page from one
// that has it now.
type patchwork struct {
	io.ReaderAt // of one of them; it is a Source, and asked as one
	from        []donation
	read        map[*kind.MMSite]memory
}

// portion is a part of a patchwork that comes from one process.
type portion struct {
	donor *kind.MMSite
	at    []image.Extent
	size  uint64
}

// ReadExtents implements image.Source.
func (p patchwork) ReadExtents(b []byte, at []image.Extent) error {
	for _, part := range p.portions(at) {
		if err := p.read[part.donor].ReadExtents(b[:part.size], part.at); err != nil {
			return err
		}
		b = b[part.size:]
	}
	return nil
}

// portions divides extents, which lie within the donations, among the donors.
func (p patchwork) portions(at []image.Extent) []portion {
	var out []portion
	i, _ := slices.BinarySearchFunc(p.from, at[0].Off, func(d donation, off uint64) int {
		if d.End() <= off {
			return -1
		}
		return 1
	})
	for _, e := range at {
		for e.Len > 0 {
			for p.from[i].End() <= e.Off {
				i++
			}
			n := min(e.End(), p.from[i].End()) - e.Off
			if k := len(out); k == 0 || out[k-1].donor != p.from[i].from {
				out = append(out, portion{donor: p.from[i].from})
			}
			part := &out[len(out)-1]
			part.at, part.size = append(part.at, image.Extent{Off: e.Off, Len: n}), part.size+n
			e.Off, e.Len = e.Off+n, e.Len-n
		}
	}
	return out
}

// shareNode tells the restore what fork left shared of an address space.
func (s *session) shareNode(n *kind.MMNode, f *forked) (err error) {
	if len(f.shared) > 0 {
		n.From, n.Shared = f.from, f.shared
	}
	n.Lent, err = s.lentPages(f)
	return err
}

// lentPages makes a blob of the pages that an address space lends.
func (s *session) lentPages(f *forked) (kind.BlobRef, error) {
	if len(f.lent) == 0 {
		return 0, nil
	}
	p := patchwork{from: f.lent, read: map[*kind.MMSite]memory{}}
	var x image.Extents
	for _, d := range f.lent {
		x = x.Join(d.Extent)
		if _, ok := p.read[d.from]; ok {
			continue
		}
		mem, err := kernelio.OpenMemory(int(d.from.Task.PID))
		if err != nil {
			return 0, err
		}
		s.keep(mem)
		p.read[d.from] = memory{mem, int(d.from.Task.PID)}
		p.ReaderAt = mem
	}
	return s.Blob(p, x)
}
