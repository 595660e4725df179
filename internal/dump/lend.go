package dump

import (
	"fmt"
	"io"
	"slices"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// patchwork is memory that processes share: each page is read from one that
// has it now, and stays shared.
type patchwork struct {
	from []donation
	read map[*kind.MMSite]*kernelio.Memory
}

// ReadAt implements io.ReaderAt for what lies within the donations.
func (p patchwork) ReadAt(b []byte, addr int64) (done int, err error) {
	i, _ := slices.BinarySearchFunc(p.from, uint64(addr), func(d donation, at uint64) int {
		if d.End() <= at {
			return -1
		}
		return 1
	})
	for ; done < len(b); i++ {
		at := uint64(addr) + uint64(done)
		if i == len(p.from) || p.from[i].Off > at {
			return done, io.ErrUnexpectedEOF
		}
		part := b[done:min(uint64(len(b)), uint64(done)+p.from[i].End()-at)]
		n, err := p.read[p.from[i].from].Peek(part, int64(at))
		if done += n; err != nil {
			return done, fmt.Errorf("reading shared memory at %x: %w", at, err)
		}
	}
	return done, nil
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
	p := patchwork{from: f.lent, read: map[*kind.MMSite]*kernelio.Memory{}}
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
		p.read[d.from] = mem
	}
	return s.Blob(p, x)
}
