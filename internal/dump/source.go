package dump

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// memory reads the pages of a frozen process for an image. Pages that lie
// scattered are read in one call.
type memory struct {
	*kernelio.Memory
	pid int
	// shared are ranges where others may have the same pages, copy on write:
	// in or outside of the tree. They are read so that they stay shared.
	shared image.Extents
}

// sharedRanges are the mappings of mm with pages of its own that somebody else
// maps, by the counts of smaps.
func sharedRanges(mm *kind.MMSite) (x image.Extents) {
	for _, m := range mm.Mappings {
		if v := &m.VMA; private(m) && v.Anonymous > 0 && v.SharedClean+v.SharedDirty > 0 {
			x = x.Join(image.Extent{Off: v.Start, Len: v.Len()})
		}
	}
	return x
}

// peek reads extents one by one, and leaves their pages shared.
func (m memory) peek(p []byte, at []image.Extent) error {
	for _, e := range at {
		if _, err := m.Peek(p[:e.Len], int64(e.Off)); err != nil {
			return fmt.Errorf("reading memory at %x: %w", e.Off, err)
		}
		p = p[e.Len:]
	}
	return nil
}

// maxSpans is how many ranges one process_vm_readv takes (UIO_MAXIOV).
const maxSpans = 1024

// ReadExtents implements image.Source.
func (m memory) ReadExtents(p []byte, at []image.Extent) error {
	if len(m.shared.Clip(at[0].Off, at[len(at)-1].End())) > 0 {
		return m.peek(p, at)
	}
	for len(at) > 0 {
		n := min(len(at), maxSpans)
		spans := make([]kernelio.Span, n)
		size := uint64(0)
		for i, e := range at[:n] {
			spans[i] = kernelio.Span{Addr: e.Off, Len: e.Len}
			size += e.Len
		}
		if err := m.readSpans(p[:size], at[:n], spans); err != nil {
			return err
		}
		p, at = p[size:], at[n:]
	}
	return nil
}

// readSpans falls back to reading range after range where one is protected
// from reading.
func (m memory) readSpans(p []byte, at []image.Extent, spans []kernelio.Span) error {
	if n, err := kernelio.ReadMemVec(m.pid, [][]byte{p}, spans); err == nil && n == len(p) {
		return nil
	}
	for _, e := range at {
		if _, err := m.ReadAt(p[:e.Len], int64(e.Off)); err != nil {
			return fmt.Errorf("reading memory at %x: %w", e.Off, err)
		}
		p = p[e.Len:]
	}
	return nil
}
