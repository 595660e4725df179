package image

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// turn is a group with what a worker made of it.
type turn struct {
	group
	of   *Pending
	seq  uint64
	out  []byte // stored bytes of all its chunks
	rows []row  // offsets are not known yet
}

// bench is what a worker needs while it fills a turn.
type bench struct {
	compressor
	raw []byte
	at  []Extent
}

// fill reads, compresses and hashes chunk by chunk: 256 KiB stay in the core's cache
// from one step to the next, which gains more than longer reads would.
func (t *turn) fill(b *bench) error {
	t.out, t.rows = grown(t.out, int(t.size)+slack)[:0], t.rows[:0]
	pos := cursor{rest: t.at}
	for left := t.size; left > 0; {
		n := min(left, ChunkSize)
		b.at = pos.take(n, b.at[:0])
		if err := t.chunk(b, int(n)); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// chunk appends one chunk of n raw bytes.
func (t *turn) chunk(b *bench, n int) error {
	start := len(t.out)
	raw := t.out[start : start+n] // where it will stay, if it is not compressed
	if b.codec != CodecNone {
		b.raw = grown(b.raw, n)
		raw = b.raw
	}
	if err := read(t.of.src, raw, b.at); err != nil {
		return err
	}
	codec := codecZero
	if !isZero(raw) {
		var err error
		if t.out, codec, err = b.compress(t.out, raw); err != nil {
			return err
		}
	}
	stored := t.out[start:]
	t.rows = append(t.rows, row{
		stored: uint32(len(stored)),
		raw:    uint32(n),
		codec:  codec,
		sum:    sha256.Sum256(stored),
	})
	return nil
}

// read fills p from a source, in one call where it can.
func read(src io.ReaderAt, p []byte, at []Extent) error {
	if s, ok := src.(Source); ok {
		return s.ReadExtents(p, at)
	}
	for _, e := range at {
		n, err := src.ReadAt(p[:e.Len], int64(e.Off))
		if n < int(e.Len) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading %d bytes at %#x: %w", e.Len, e.Off, err)
		}
		p = p[e.Len:]
	}
	return nil
}

// sink is the stream and how much of it was written.
type sink struct {
	w      io.Writer
	off    uint64
	broken bool // what was written last may be there in part
}

// write writes p, after the magic where p is the first.
func (s *sink) write(p []byte) error {
	if s.off == 0 {
		if err := s.put(magic()); err != nil {
			return err
		}
	}
	return s.put(p)
}

func (s *sink) put(p []byte) error {
	n, err := s.w.Write(p)
	s.off += uint64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	s.broken = err != nil
	return err
}
