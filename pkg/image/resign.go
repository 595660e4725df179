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
	_, end, err := r.Signed(sigs)
	if err != nil {
		return err
	}
	_, err = w.Write(append(append([]byte(nil), r.manifest...), end...))
	return err
}

// Signed returns what stands in the image from offset at on, where it has sigs
// in place of its signatures. All before that stays as it is, so that an image
// can be signed where it lies.
func (r *Reader) Signed(sigs [][]byte) (at int64, end []byte, err error) {
	if end, err = appendSignatures(nil, sigs); err != nil {
		return 0, nil, err
	}
	f := r.foot
	f.sigs = uint32(len(end))
	f.total = f.manifest + uint64(f.length) + uint64(len(end)) + footerSize
	return int64(f.manifest + uint64(f.length)), f.append(end), nil
}
