package image

import (
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
)

// Reader reads an image at random. After Decode its methods may be called by
// several goroutines.
type Reader struct {
	r        io.ReaderAt
	foot     footer
	manifest []byte
	sigs     [][]byte

	totals   Totals
	digests  Segments
	mu       sync.Mutex
	segments [][]row // loaded ones
}

// Open reads the envelope of an image of size bytes: magic, footer, manifest and
// signatures, all bounded. It decodes no manifest, allocates nothing that the file
// does not hold, and trusts nothing. Errors are ErrFormat, ErrVersion, ErrTruncated,
// ErrLimit, and ErrFailedDump with the dumper's reason; others are r's.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	rd := &Reader{r: r}
	if err := rd.open(size); err != nil {
		return nil, fmt.Errorf("opening the image: %w", err)
	}
	return rd, nil
}

func (r *Reader) open(size int64) error {
	head, err := r.bytes(0, min(uint64(max(size, 0)), magicSize))
	if err != nil {
		return err
	}
	if len(head) < magicSize {
		return fmt.Errorf("%d bytes: %w", size, ErrTruncated)
	}
	if err := checkMagic(head); err != nil {
		return err
	}
	if size < magicSize+footerSize {
		return fmt.Errorf("%d bytes: %w", size, ErrTruncated)
	}
	last, err := r.bytes(uint64(size)-footerSize, footerSize)
	if err != nil {
		return err
	}
	if r.foot, err = parseFooter(last, uint64(size)); err != nil {
		return err
	}
	return r.envelope()
}

// envelope reads what the footer points to.
func (r *Reader) envelope() error {
	b, err := r.bytes(r.foot.manifest, uint64(r.foot.length)+uint64(r.foot.sigs))
	if err != nil {
		return err
	}
	if r.foot.failed {
		return fmt.Errorf("%w: %q", ErrFailedDump, b)
	}
	r.manifest = b[:r.foot.length:r.foot.length]
	r.sigs, err = parseSignatures(b[r.foot.length:])
	return err
}

// bytes reads n bytes at off; the footer's checks bounded n.
func (r *Reader) bytes(off, n uint64) ([]byte, error) {
	b := make([]byte, n)
	return b, r.fill(b, off)
}

// fill reads len(b) bytes at off. A file that ends early was cut while open.
func (r *Reader) fill(b []byte, off uint64) error {
	n, err := r.r.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		return fmt.Errorf("%d bytes at %d, not %d: %w", n, off, len(b), ErrTruncated)
	}
	return fmt.Errorf("reading the image at %d: %w", off, err)
}

// ManifestBytes returns what the signatures cover. Do not change it.
func (r *Reader) ManifestBytes() []byte { return r.manifest }

// Signatures returns each signature as it was given to Writer.Close; none where the
// image is unsigned.
func (r *Reader) Signatures() [][]byte { return r.sigs }

// Decode decodes the manifest and holds it against the file. Check the signatures
// before. Errors are those of DecodeManifest.
func (r *Reader) Decode() (*Manifest, error) {
	m, err := DecodeManifest(r.manifest)
	if err != nil {
		return nil, err
	}
	if m.Totals.Chunks != r.foot.rows() || m.Totals.Stored != r.foot.table-magicSize {
		return nil, fmt.Errorf("the manifest has %d chunks of %d bytes, the file %d of %d: %w", m.Totals.Chunks,
			m.Totals.Stored, r.foot.rows(), r.foot.table-magicSize, ErrFormat)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totals, r.digests = m.Totals, m.Segments
	r.segments = make([][]row, len(m.Segments))
	return m, nil
}

// rows returns the rows from chunk first on, up to n of them in dst.
func (r *Reader) rows(first, n uint64, dst []row) ([]row, error) {
	for i := first; i < first+n; {
		seg, err := r.segment(i / SegmentRows)
		if err != nil {
			return nil, fmt.Errorf("table segment %d: %w", i/SegmentRows, err)
		}
		seg = seg[i%SegmentRows:]
		seg = seg[:min(uint64(len(seg)), first+n-i)]
		dst = append(dst, seg...)
		i += uint64(len(seg))
	}
	return dst, nil
}

// segment loads a segment of the table at its first use.
func (r *Reader) segment(i uint64) ([]row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.segments[i] != nil {
		return r.segments[i], nil
	}
	n := min(SegmentRows, r.totals.Chunks-i*SegmentRows)
	b, err := r.bytes(r.foot.table+i*SegmentRows*rowSize, n*rowSize)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != r.digests[i].Digest {
		return nil, ErrDigest
	}
	start := uint64(magicSize)
	if i > 0 {
		start = r.digests[i-1].End
	}
	r.segments[i], err = parseSegment(b, start, r.digests[i].End)
	return r.segments[i], err
}
