package image

import (
	"encoding/binary"
	"fmt"
)

const (
	rowSize = 64
	// SegmentRows is how many rows each segment of the table has, but the last.
	SegmentRows = 4096
)

// row is one chunk's entry in the table:
//
//	0 offset u64 | 8 stored u32 | 12 raw u32 | 16 codec u8 | 17 zero[15] | 32 sha256[32]
type row struct {
	off    uint64 // of the file
	stored uint32 // bytes in the file
	raw    uint32 // bytes of the blob
	codec  Codec
	sum    [32]byte // of the stored bytes
}

func segmentsOf(chunks uint64) uint64 { return (chunks + SegmentRows - 1) / SegmentRows }

func (r row) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.off)
	b = binary.LittleEndian.AppendUint32(b, r.stored)
	b = binary.LittleEndian.AppendUint32(b, r.raw)
	var codec [16]byte
	codec[0] = byte(r.codec)
	b = append(b, codec[:]...)
	return append(b, r.sum[:]...)
}

// parseRow decodes the 64 bytes of a row and checks what can be checked of one.
func parseRow(b []byte) (row, error) {
	r := row{
		off:    binary.LittleEndian.Uint64(b),
		stored: binary.LittleEndian.Uint32(b[8:]),
		raw:    binary.LittleEndian.Uint32(b[12:]),
		codec:  Codec(b[16]),
		sum:    [32]byte(b[32:rowSize]),
	}
	for _, c := range b[17:32] {
		if c != 0 {
			return row{}, fmt.Errorf("reserved bytes in use: %w", ErrFormat)
		}
	}
	return r, r.check()
}

func (r row) check() error {
	if r.raw == 0 || r.raw > ChunkSize {
		return fmt.Errorf("%d raw bytes: %w", r.raw, ErrFormat)
	}
	ok := false
	switch r.codec {
	case CodecNone:
		ok = r.stored == r.raw
	case CodecS2, CodecZstd:
		ok = r.stored > 0 && r.stored < r.raw
	case codecZero:
		ok = r.stored == 0
	default:
		return fmt.Errorf("codec %d: %w", uint8(r.codec), ErrVersion)
	}
	if !ok {
		return fmt.Errorf("%d bytes stored for %d with codec %s: %w", r.stored, r.raw, r.codec, ErrFormat)
	}
	return nil
}

// parseSegment decodes the rows of a segment whose digest was checked. Their chunks
// must tile the file from start to end.
func parseSegment(b []byte, start, end uint64) ([]row, error) {
	rows := make([]row, len(b)/rowSize)
	for i := range rows {
		r, err := parseRow(b[i*rowSize:])
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		if r.off != start {
			return nil, fmt.Errorf("row %d: chunk at %d, not %d: %w", i, r.off, start, ErrFormat)
		}
		start += uint64(r.stored)
		rows[i] = r
	}
	if start != end {
		return nil, fmt.Errorf("chunks end at %d, not %d: %w", start, end, ErrFormat)
	}
	return rows, nil
}
