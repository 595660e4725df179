package dump

import (
	"io"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// Blob implements kind.Dump: the bytes are read later, while the tree is
// still frozen.
func (s *session) Blob(src io.ReaderAt, extents []image.Extent) (kind.BlobRef, error) {
	x := image.Extents(extents)
	if err := x.Check(); err != nil {
		return 0, err
	}
	s.blobs = append(s.blobs, blob{src: src, extents: x})
	return kind.BlobRef(len(s.blobs)), nil
}

// memories makes a blob of the pages of each address space.
func (s *session) memories() ([]kind.MMNode, error) {
	var out []kind.MMNode
	for _, mm := range s.mms {
		n := kind.MMNode{ID: mm.ID}
		for i, m := range mm.Mappings {
			if i == 0 {
				n.First = m.ID
			}
			n.Mappings++
			if m.VMA.Start < 1<<63 { // [vsyscall] lies in the kernel's half
				n.Used = join(n.Used, image.Extent{Off: m.VMA.Start, Len: m.VMA.Len()})
			}
		}
		if x := s.pages[mm]; len(x) > 0 {
			mem, err := kernelio.OpenMemory(int(mm.Task.PID))
			if err != nil {
				return nil, err
			}
			s.keep(mem)
			if n.Pages, err = s.Blob(memory{mem, int(mm.Task.PID), sharedRanges(mm)}, x); err != nil {
				return nil, err
			}
		}
		if f := s.forks[mm]; f != nil {
			if err := s.shareNode(&n, f); err != nil {
				return nil, err
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// copyBlobs has all bulk data read and compressed. When it returns, the tree
// is needed no more.
func (s *session) copyBlobs(w *image.Writer) error {
	var pending []*image.Pending
	for _, b := range s.blobs {
		pending = append(pending, w.Start(b.src, b.extents))
	}
	for _, p := range pending {
		if _, err := p.Wait(); err != nil {
			return err
		}
	}
	return nil
}
