package image

import (
	"bytes"
	"fmt"
	"math"
)

// Record is what one kind wrote about one site. Only its frame is known here.
type Record struct {
	Site    uint8  // the engine's number of the sort of site
	ID      uint32 // which site of that sort
	Kind    string // 1 to 64 of a-z, 0-9, '-', '_', '.'
	Version uint16 // of the body's schema
	Body    []byte // see Marshal; at most MaxBody, not empty
}

// Records are all records of an image. On the wire they are a byte string that holds
// CBOR: an array of maps {1: site, 2: id, 3: kind, 4: version, 5: body}. It is coded
// by hand, because 20,000 of them must decode in 2 ms and not in 20, and the frame
// hides the bodies from the limits of the manifest.
type Records []Record

// MarshalCBOR encodes the records as one byte string.
func (rs Records) MarshalCBOR() ([]byte, error) {
	size := 0
	for i := range rs {
		size += len(rs[i].Kind) + len(rs[i].Body) + 24
	}
	b := appendHead(make([]byte, 0, size+9), majorArray, uint64(len(rs)))
	for i := range rs {
		b = rs[i].append(b)
	}
	return encodeBytes(b), nil
}

func (r *Record) append(b []byte) []byte {
	b = appendHead(b, majorMap, 5)
	b = appendHead(append(b, 1), majorUint, uint64(r.Site))
	b = appendHead(append(b, 2), majorUint, uint64(r.ID))
	b = append(appendHead(append(b, 3), majorText, uint64(len(r.Kind))), r.Kind...)
	b = appendHead(append(b, 4), majorUint, uint64(r.Version))
	return append(appendHead(append(b, 5), majorBytes, uint64(len(r.Body))), r.Body...)
}

// UnmarshalCBOR decodes what MarshalCBOR wrote.
func (rs *Records) UnmarshalCBOR(data []byte) error {
	b, err := decodeBytes(data, 1)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	p := recordParser{parser{rest: bytes.Clone(b)}, map[string]string{}}
	n := p.head(majorArray, math.MaxUint64)
	if n > maxRecords || n > uint64(len(b)/minRecord) {
		return fmt.Errorf("%d records in %d bytes: %w", n, len(b), ErrLimit)
	}
	list := make(Records, n)
	for i := range list {
		if list[i] = p.record(); p.bad {
			return fmt.Errorf("record %d is malformed", i)
		}
	}
	if p.bad || len(p.rest) > 0 {
		return fmt.Errorf("%d bytes behind the last record", len(p.rest))
	}
	*rs = list
	return nil
}

// minRecord is the least that a record encodes to, with an empty kind and body.
const minRecord = 11

// recordParser takes records off their encoding. Bodies share its memory.
type recordParser struct {
	parser
	kinds map[string]string // there are few kinds and many records
}

func (p *recordParser) record() Record {
	if p.head(majorMap, 5) != 5 {
		p.bad = true
	}
	var r Record
	r.Site = uint8(p.field(1, majorUint, math.MaxUint8))
	r.ID = uint32(p.field(2, majorUint, math.MaxUint32))
	r.Kind = p.kind(p.take(p.field(3, majorText, maxKind)))
	r.Version = uint16(p.field(4, majorUint, math.MaxUint16))
	r.Body = p.take(p.field(5, majorBytes, MaxBody))
	return r
}

// field takes a key and the head of its value.
func (p *recordParser) field(key uint64, major byte, limit uint64) uint64 {
	if p.head(majorUint, 23) != key {
		p.bad = true
	}
	return p.head(major, limit)
}

// kind returns b as a string that equal kinds share.
func (p *recordParser) kind(b []byte) string {
	if s, ok := p.kinds[string(b)]; ok {
		return s
	}
	s := string(b)
	p.kinds[s] = s
	return s
}
