package dump

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// Content implements kind.Dump.
func (s *session) Content(i *kind.InodeSite) (kind.BlobRef, error) {
	in := s.held[i]
	if i.Unheld {
		return s.unheldContent(i)
	}
	if !in.readable {
		fd, err := kernelio.Reopen(in.fd, unix.O_RDONLY)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", quote(i.Path), err)
		}
		s.keep(fd)
		in.fd, in.readable = fd.Int(), true
	}
	data, err := kernelio.DataExtents(in.fd, i.Stat.Size)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", quote(i.Path), err)
	}
	var x image.Extents
	for _, e := range data {
		x = append(x, image.Extent{Off: uint64(e.Off), Len: uint64(e.Len)})
	}
	return s.Blob(kernelio.ReaderAt(in.fd), x)
}
