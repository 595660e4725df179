package image

import (
	"bytes"
	"fmt"
	"math/rand"
	"reflect"
	"sync"
	"testing"
	"testing/quick"

	"github.com/fxamacker/cbor/v2"
)

// encoding is the library's, of which Marshal has the form.
var encoding = sync.OnceValue(func() cbor.EncMode {
	eo := cbor.CoreDetEncOptions()
	eo.NilContainers = cbor.NilContainerAsEmpty
	eo.TagsMd = cbor.TagsForbidden
	enc, err := eo.EncMode()
	if err != nil {
		panic(err)
	}
	return enc
})

// sameAsLibrary holds the encoder against the library.
func sameAsLibrary(t *testing.T, v any) {
	t.Helper()
	want, err := encoding().Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Marshal(v)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%+v, %v:\n%x; the library:\n%x", v, err, got, want)
	}
}

// anything is what quick makes up: shapes without what is not exported.
type anything struct {
	U8    uint8             `cbor:"1,keyasint,omitempty"`
	U64   uint64            `cbor:"2,keyasint"`
	I8    int8              `cbor:"3,keyasint,omitempty"`
	I64   int64             `cbor:"4,keyasint"`
	Flag  bool              `cbor:"5,keyasint,omitempty"`
	Text  string            `cbor:"6,keyasint,omitempty"`
	Raw   []byte            `cbor:"7,keyasint,omitempty"`
	Fixed [2]byte           `cbor:"8,keyasint,omitempty"`
	Nums  []int32           `cbor:"9,keyasint"`
	Two   [2]inner          `cbor:"10,keyasint,omitempty"`
	One   inner             `cbor:"300,keyasint,omitempty"`
	Perh  *inner            `cbor:"24,keyasint,omitempty"`
	Maybe *uint16           `cbor:"23,keyasint"`
	Map   map[string]inner  `cbor:"70000,keyasint,omitempty"`
	Deep  [][]*inner        `cbor:"15,keyasint,omitempty"`
	Named map[string]string `cbor:"16,keyasint"`
}

// TestEncode holds the encoder against the library.
func TestEncode(t *testing.T) {
	for _, v := range someShapes() {
		sameAsLibrary(t, v)
		sameAsLibrary(t, &v)
	}
	r := rand.New(rand.NewSource(1))
	for range 2000 {
		v, ok := quick.Value(reflect.TypeFor[anything](), r)
		if !ok {
			t.Fatal("quick can't")
		}
		sameAsLibrary(t, v.Interface())
	}
}

// TestEncodeWide has as many fields as need a head of one, two and three bytes.
func TestEncodeWide(t *testing.T) {
	for _, n := range []int{0, 1, 23, 24, 255, 256, 300} {
		var fields []reflect.StructField
		for i := range n {
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[uint16](),
				Tag: reflect.StructTag(fmt.Sprintf(`cbor:"%d,keyasint"`, n-i))})
		}
		v := reflect.New(reflect.StructOf(fields))
		for i := range n {
			v.Elem().Field(i).SetUint(uint64(i))
		}
		sameAsLibrary(t, v.Interface())
	}
}
