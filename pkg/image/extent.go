package image

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Extent is a run of bytes at an offset of a blob. In the memory of a process
// the offset is a virtual address.
type Extent struct {
	Off uint64 // bytes, below 1<<63
	Len uint64 // bytes, not 0
}

// End returns the offset behind the extent.
func (e Extent) End() uint64 { return e.Off + e.Len }

// Extents is where the bytes of a blob belong: ascending and not overlapping;
// neighbours may touch. On the wire it is a byte string of 16 bytes each,
// because 100,000 of them must decode in a millisecond.
type Extents []Extent

const extentSize = 16

// Size returns the sum of the lengths. It is exact for extents that passed Check.
func (x Extents) Size() uint64 {
	var n uint64
	for _, e := range x {
		n += e.Len
	}
	return n
}

// Check reports the first extent that is empty, out of order, overlaps the one
// before, or reaches beyond 1<<63.
func (x Extents) Check() error {
	var end uint64
	for i, e := range x {
		switch {
		case e.Len == 0:
			return fmt.Errorf("extent %d is empty: %w", i, ErrFormat)
		case e.Off > math.MaxInt64 || e.Len > math.MaxInt64-e.Off:
			return fmt.Errorf("extent %d reaches beyond 1<<63: %w", i, ErrFormat)
		case e.Off < end:
			return fmt.Errorf("extent %d starts inside or before the one before it: %w", i, ErrFormat)
		}
		end = e.End()
	}
	return nil
}

// MarshalCBOR encodes the extents as one byte string.
func (x Extents) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 0, len(x)*extentSize)
	for _, e := range x {
		b = binary.LittleEndian.AppendUint64(b, e.Off)
		b = binary.LittleEndian.AppendUint64(b, e.Len)
	}
	return encodeBytes(b), nil
}

// UnmarshalCBOR decodes what MarshalCBOR wrote; it does not Check.
func (x *Extents) UnmarshalCBOR(data []byte) error {
	b, err := decodeBytes(data, extentSize)
	if err != nil {
		return fmt.Errorf("extents: %w", err)
	}
	*x = make(Extents, len(b)/extentSize)
	for i := range *x {
		p := b[i*extentSize:]
		(*x)[i] = Extent{binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])}
	}
	return nil
}

// cursor hands out the bytes of extents in order, a stretch at a time.
type cursor struct {
	rest Extents
	used uint64 // bytes of rest[0] that were handed out
}

// take appends to at where the next n bytes belong.
func (c *cursor) take(n uint64, at []Extent) []Extent {
	for n > 0 {
		e := c.rest[0]
		part := Extent{e.Off + c.used, min(n, e.Len-c.used)}
		at = append(at, part)
		n -= part.Len
		c.used += part.Len
		if c.used == e.Len {
			c.rest, c.used = c.rest[1:], 0
		}
	}
	return at
}
