package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The few items of CBOR that are coded by hand, because they are many or long.

// Major types (RFC 8949, 3.1), as the first byte has them.
const (
	majorUint     = 0 << 5
	majorNegative = 1 << 5
	majorBytes    = 2 << 5
	majorText     = 3 << 5
	majorArray    = 4 << 5
	majorMap      = 5 << 5
	majorMask     = 7 << 5
)

// Simple values (RFC 8949, 3.3).
const (
	simpleFalse = 7<<5 | 20
	simpleTrue  = 7<<5 | 21
	simpleNull  = 7<<5 | 22
)

// appendHead appends the shortest head of an item (RFC 8949, 4.2.1).
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

// encodeBytes returns b as a byte string.
func encodeBytes(b []byte) []byte {
	return append(appendHead(make([]byte, 0, len(b)+9), majorBytes, uint64(len(b))), b...)
}

// decodeBytes returns the content of a byte string of a multiple of unit bytes. It
// shares data.
func decodeBytes(data []byte, unit int) ([]byte, error) {
	p := parser{rest: data}
	b := p.take(p.head(majorBytes, MaxManifest))
	switch {
	case p.bad || len(p.rest) > 0:
		return nil, errors.New("not one byte string")
	case len(b)%unit != 0:
		return nil, fmt.Errorf("%d bytes are no multiple of %d", len(b), unit)
	}
	return b, nil
}

// parser takes items off their encoding; bad says that one was not as expected, or
// a head not the shortest.
type parser struct {
	rest []byte
	bad  bool
}

// head takes a head of the major type whose argument is at most limit.
func (p *parser) head(major byte, limit uint64) uint64 {
	if len(p.rest) == 0 || p.rest[0]&majorMask != major {
		p.bad = true
		return 0
	}
	n := uint64(p.rest[0] &^ majorMask)
	p.rest = p.rest[1:]
	if n >= 24 {
		n = p.argument(n)
	}
	if n > limit {
		p.bad = true
		return 0
	}
	return n
}

// argument takes the 1, 2, 4 or 8 bytes that follow a first byte with info.
func (p *parser) argument(info uint64) uint64 {
	if info > 27 {
		p.bad = true
		return 0
	}
	size := uint64(1) << (info - 24)
	var n uint64
	for _, c := range p.take(size) {
		n = n<<8 | uint64(c)
	}
	if n < 24 || size > 1 && n>>(4*size) == 0 {
		p.bad = true // it fits into the first byte, or into half of these
	}
	return n
}

func (p *parser) take(n uint64) []byte {
	if n > uint64(len(p.rest)) {
		p.bad, n = true, 0
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}
