package image

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// library is a decoder that is as strict as it can be made.
var library = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  maxBodyArray,
		MaxMapPairs:       maxMapPairs,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
})

// byLibrary decodes as the library does, and encodes the result to compare: the
// definition of what the decoder accepts.
func byLibrary(b []byte, v any) error {
	dec, err := library()
	if err != nil {
		return err
	}
	if err := dec.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := encoding().Marshal(v)
	if err == nil && !bytes.Equal(b, again) {
		err = fmt.Errorf("it encodes to %x", again)
	}
	return err
}

type inner struct {
	A uint8 `cbor:"1,keyasint,omitempty"`
	B bool  `cbor:"2,keyasint,omitempty"`
}

type within struct {
	Low  int8   `cbor:"20,keyasint"`
	High uint64 `cbor:"24,keyasint,omitempty"`
}

// shapes has everything that records have.
type shapes struct {
	U8    uint8             `cbor:"1,keyasint,omitempty"`
	U16   uint16            `cbor:"2,keyasint"`
	I32   int32             `cbor:"3,keyasint,omitempty"`
	I64   int64             `cbor:"4,keyasint"`
	Flag  bool              `cbor:"5,keyasint"`
	Text  string            `cbor:"6,keyasint,omitempty"`
	Raw   []byte            `cbor:"7,keyasint"`
	Fixed [4]byte           `cbor:"8,keyasint,omitempty"`
	Nums  []uint32          `cbor:"9,keyasint,omitempty"`
	Three [3]inner          `cbor:"10,keyasint,omitempty"`
	One   inner             `cbor:"11,keyasint,omitempty"`
	Maybe *inner            `cbor:"12,keyasint"`
	Perh  *inner            `cbor:"13,keyasint,omitempty"`
	Map   map[string]string `cbor:"14,keyasint"`
	Where Extents           `cbor:"15,keyasint,omitempty"`
	Many  []inner           `cbor:"16,keyasint,omitempty"`
	Zero  *uint32           `cbor:"19,keyasint,omitempty"`
	within
}

func someShapes() []shapes {
	long := bytes.Repeat([]byte{1, 2}, 200)
	return []shapes{
		{},
		{U8: 24, U16: 256, I32: -25, I64: -1 << 40, Flag: true, Text: "grüß", Raw: long, Fixed: [4]byte{1}, Nums: []uint32{0, 23, 24, 65536},
			Three: [3]inner{{1, true}, {}, {0, true}}, One: inner{A: 1}, Maybe: &inner{}, Perh: &inner{B: true},
			Map: map[string]string{"a": "b", "bb": "", "aaa": "c", "B": "d"}, Where: Extents{{4096, 8192}, {1 << 40, 1}},
			Many: []inner{{}, {7, false}}, Zero: new(uint32), within: within{-128, 1 << 63}},
	}
}

// agree holds the decoder against the library.
func agree(t *testing.T, b []byte) {
	t.Helper()
	var got, want shapes
	err, reason := Unmarshal(b, &got), byLibrary(b, &want)
	if (err == nil) != (reason == nil) {
		t.Fatalf("%x: %v; the library: %v", b, err, reason)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%x:\n%+v; the library:\n%+v", b, got, want)
	}
	if err == nil {
		sameAsLibrary(t, &got)
	}
	if err != nil && errors.Is(err, ErrFormat) == errors.Is(err, ErrLimit) {
		t.Fatalf("%x: %v is of no class or of two", b, err)
	}
}

// TestDecode changes, adds and takes away every byte of some encodings.
func TestDecode(t *testing.T) {
	for _, v := range someShapes() {
		b, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, b)
		if err := Unmarshal(b, new(shapes)); err != nil {
			t.Error(err)
		}
		for i := range b {
			agree(t, append(bytes.Clone(b[:i]), b[i+1:]...))
			agree(t, b[:i])
			for c := range 256 {
				changed := bytes.Clone(b)
				changed[i] = byte(c)
				agree(t, changed)
				agree(t, append(append(bytes.Clone(b[:i]), byte(c)), b[i:]...))
			}
		}
	}
}

// TestDecodeBounds: an array that claims more elements than there are bytes.
func TestDecodeBounds(t *testing.T) {
	head := appendHead(nil, majorArray, maxBodyArray)
	if err := Unmarshal(append(head, 0), new([]shapes)); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	head = appendHead(nil, majorArray, maxBodyArray+1)
	if err := Unmarshal(append(head, 0), new([]uint8)); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if err := Unmarshal(append(head, 0), new([]uint16)); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
}

// FuzzDecode looks for bytes about which decoder and library disagree.
func FuzzDecode(f *testing.F) {
	for _, v := range someShapes() {
		b, err := Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}

func BenchmarkDecode(b *testing.B) {
	enc, err := Marshal(someShapes()[1])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Unmarshal(enc, new(shapes)); err != nil {
			b.Fatal(err)
		}
	}
}
