package plan

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Field is a part of a buffer that a call fills, and what must be there for
// the world to be as it was at the dump: the size in what statx(2) reports,
// say.
type Field struct {
	Out  int    // which Out argument of the call, from 0
	Off  int    // where in its buffer
	Want []byte // the bytes that must be there
	Mask []byte // which of their bits count; nil: all
	Name string // "size", for the message
	Form Form
}

// Form says how the bytes of a Field read in a message.
type Form uint8

// The forms.
const (
	Hex    Form = iota
	Number      // unsigned, little-endian
	Octal       // unsigned, little-endian
	Text        // a string, up to its NUL
	Time        // seconds (8 bytes) and nanoseconds (4), as in struct statx_timestamp
)

// Difference is a Field that is not as it should be.
type Difference struct {
	Name string
	Was  string // at the dump
	Is   string // now
}

func (d Difference) String() string { return fmt.Sprintf("%s %s -> %s", d.Name, d.Was, d.Is) }

// Changed says that an object is not what it was at the dump. The step that
// found it out says which object.
type Changed []Difference

func (c Changed) Error() string {
	s := make([]string, len(c))
	for i, d := range c {
		s[i] = d.String()
	}
	return "changed since the dump: " + strings.Join(s, ", ")
}

// Compare holds what a call brought back against what it had to; the error is
// a Changed. A buffer that is too short differs.
func Compare(want []Field, out [][]byte) error {
	var c Changed
	for _, f := range want {
		is := f.of(out)
		if !bytes.Equal(f.masked(is), f.masked(f.Want)) {
			c = append(c, Difference{f.Name, f.show(f.Want), f.show(is)})
		}
	}
	if len(c) == 0 {
		return nil
	}
	return c
}

// of cuts the field's bytes out of the results; nil if they aren't there.
func (f Field) of(out [][]byte) []byte {
	if f.Out < 0 || f.Out >= len(out) {
		return nil
	}
	b := out[f.Out]
	if f.Off < 0 || f.Off > len(b) || len(b)-f.Off < len(f.Want) {
		return nil
	}
	return b[f.Off:][:len(f.Want)]
}

func (f Field) masked(b []byte) []byte {
	if f.Mask == nil {
		return b
	}
	m := bytes.Clone(b)
	for i := range m {
		if i < len(f.Mask) {
			m[i] &= f.Mask[i]
		} else {
			m[i] = 0
		}
	}
	return m
}

func (f Field) show(b []byte) string {
	b = f.masked(b)
	switch {
	case len(b) == 0:
		return "nothing"
	case f.Form == Number && len(b) <= 8:
		return fmt.Sprint(little(b))
	case f.Form == Octal && len(b) <= 8:
		return fmt.Sprintf("%#o", little(b))
	case f.Form == Text:
		s, _, _ := bytes.Cut(b, []byte{0})
		return fmt.Sprintf("%+q", s)
	case f.Form == Time && len(b) == 12:
		t := time.Unix(int64(little(b[:8])), int64(little(b[8:])))
		return t.UTC().Format(time.RFC3339Nano)
	}
	return hex.EncodeToString(b)
}

func little(b []byte) uint64 {
	var n [8]byte
	copy(n[:], b)
	return binary.LittleEndian.Uint64(n[:])
}
