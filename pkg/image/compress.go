package image

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec is how a chunk is stored.
type Codec uint8

// Codecs a Writer can be asked for. Whatever it is asked for, a chunk of zeros
// stores no bytes and one that does not shrink is stored as it is.
const (
	CodecS2   Codec = 0 // the default: fast
	CodecZstd Codec = 1 // smaller
	CodecNone Codec = 2

	codecZero Codec = 3 // only in rows
)

// String returns the codec's name as the --compress option spells it.
func (c Codec) String() string {
	names := [...]string{CodecS2: "s2", CodecZstd: "zstd", CodecNone: "none", codecZero: "zero"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// ParseCodec is the inverse of String for the codecs that can be asked for.
func ParseCodec(name string) (Codec, error) {
	for _, c := range []Codec{CodecS2, CodecZstd, CodecNone} {
		if name == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %.40q: choose s2, zstd or none", name)
}

// isZero compares p with itself moved by one, which runs at memory speed.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

// compressor belongs to one worker at a time.
type compressor struct {
	codec Codec
	zstd  *zstd.Encoder
}

// slack is the room that compress may need beyond the raw bytes.
const slack = 64

// compress appends raw to dst in the form that is worth storing and says which it is.
// dst must have room for len(raw)+slack more bytes; raw may lie there already, if the
// codec is none.
func (c *compressor) compress(dst, raw []byte) ([]byte, Codec, error) {
	packed := dst
	switch c.codec {
	case CodecNone:
		return dst[:len(dst)+len(raw)], CodecNone, nil
	case CodecS2:
		packed = dst[:len(dst)+len(s2.Encode(dst[len(dst):cap(dst)], raw))]
	case CodecZstd:
		enc, err := c.encoder()
		if err != nil {
			return nil, 0, err
		}
		packed = enc.EncodeAll(raw, dst)
	}
	// Less than 1/16 saved is not worth the time of decompressing it.
	if n := len(packed) - len(dst); n < len(raw)-len(raw)/16 {
		return packed, c.codec, nil
	}
	return append(dst, raw...), CodecNone, nil
}

// encoder makes the zstd encoder at first use; these options keep it at 0.3 MB.
func (c *compressor) encoder() (*zstd.Encoder, error) {
	if c.zstd != nil {
		return c.zstd, nil
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(ChunkSize),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("making a zstd encoder: %w", err)
	}
	c.zstd = enc
	return enc, nil
}

// decompressor belongs to one worker at a time.
type decompressor struct {
	zstd *zstd.Decoder
	buf  []byte
}

// decompress returns the raw bytes of a chunk whose stored bytes were verified. They
// are valid until the next call, and may be stored itself.
func (d *decompressor) decompress(r row, stored []byte) ([]byte, error) {
	switch r.codec {
	case CodecNone:
		return stored, nil
	case codecZero:
		d.buf = grown(d.buf, int(r.raw))
		clear(d.buf)
		return d.buf, nil
	case CodecS2:
		return d.s2(r, stored)
	default:
		return d.unzstd(r, stored)
	}
}

// s2 asks for the length first, because s2.Decode allocates what the header claims.
func (d *decompressor) s2(r row, stored []byte) ([]byte, error) {
	n, err := s2.DecodedLen(stored)
	if err != nil || n != int(r.raw) {
		return nil, fmt.Errorf("s2 says %d bytes, not %d: %w", n, r.raw, ErrFormat)
	}
	d.buf = grown(d.buf, n)
	out, err := s2.Decode(d.buf, stored)
	if err != nil {
		return nil, fmt.Errorf("s2: %w: %w", ErrFormat, err)
	}
	return out, nil
}

func (d *decompressor) unzstd(r row, stored []byte) ([]byte, error) {
	if d.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(ChunkSize), zstd.WithDecoderMaxWindow(ChunkSize))
		if err != nil {
			return nil, fmt.Errorf("making a zstd decoder: %w", err)
		}
		d.zstd = dec
	}
	out, err := d.zstd.DecodeAll(stored, grown(d.buf, int(r.raw))[:0])
	if err != nil {
		return nil, fmt.Errorf("zstd: %w: %w", ErrFormat, err)
	}
	if len(out) != int(r.raw) {
		return nil, fmt.Errorf("zstd gave %d bytes, not %d: %w", len(out), r.raw, ErrFormat)
	}
	d.buf = out
	return out, nil
}

// grown returns b with length n; what it held is lost.
func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
