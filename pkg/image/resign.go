package image

import (
	"fmt"
	"io"
)

// WriteSigned writes the image to w with sigs in place of its signatures:
// chunks and table as they are, the manifest that Open read. It verifies
// nothing.
func (r *Reader) WriteSigned(w io.Writer, sigs [][]byte) error {
	if _, err := io.Copy(w, io.NewSectionReader(r.r, 0, int64(r.foot.manifest))); err != nil {
		return fmt.Errorf("copying the image: %w", err)
	}
	tail, err := appendSignatures(append([]byte(nil), r.manifest...), sigs)
	if err != nil {
		return err
	}
	f := r.foot
	f.sigs = uint32(len(tail) - len(r.manifest))
	f.total = f.manifest + uint64(len(tail)) + footerSize
	_, err = w.Write(f.append(tail))
	return err
}
