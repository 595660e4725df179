package image

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The decoder goes by the type of what it fills, and takes of each item only
// the one form that Marshal gives it. Any other is refused where it stands, so
// that nothing has to be encoded again to be compared.

// decode fills the zero value that v points to from exactly one item, with
// arrays of at most the given number of elements.
func decode(b []byte, v any, arrays uint64) error {
	d := decoder{parser: parser{rest: b}, arrays: arrays}
	to := reflect.ValueOf(v).Elem()
	decoderOf(to.Type())(&d, to)
	if len(d.rest) > 0 {
		d.refuse("%d bytes behind the end", len(d.rest))
	}
	return d.err
}

// anyNumber is no limit.
const anyNumber = math.MaxUint64

type decoder struct {
	parser
	arrays uint64
	err    error // the first
}

// refuse says why the item cannot be what was written, unless that was said.
func (d *decoder) refuse(format string, a ...any) {
	d.bad = true
	if d.err == nil {
		d.err = fmt.Errorf(format+": %w", append(a, ErrFormat)...)
	}
}

// check turns what the parser found into an error.
func (d *decoder) check(t reflect.Type) {
	if d.bad {
		d.refuse("no %s", t)
	}
}

// count takes the head of an array or map: no more elements than there are
// bytes, so that what is allocated is bounded by what there is.
func (d *decoder) count(major byte, limit uint64) int {
	n := d.head(major, anyNumber)
	switch {
	case n > limit:
		d.bad, d.err = true, fmt.Errorf("%d elements, at most %d: %w", n, limit, ErrLimit)
		return 0
	case n > uint64(len(d.rest)):
		d.refuse("%d elements in %d bytes", n, len(d.rest))
		return 0
	}
	return int(n)
}

// decodeFunc fills a value. After an error it may leave anything there.
type decodeFunc func(*decoder, reflect.Value)

// decoders are those of the types met so far.
var decoders sync.Map // reflect.Type: decodeFunc

func decoderOf(t reflect.Type) decodeFunc {
	if f, ok := decoders.Load(t); ok {
		return f.(decodeFunc)
	}
	f := newDecoder(t, 0)
	decoders.Store(t, f)
	return f
}

// Prepare makes ahead of time what decoding the first T takes, and nothing of
// any image.
func Prepare[T any]() { decoderOf(reflect.TypeFor[T]()) }

// selfCoded is a type that encodes and decodes its own item.
type selfCoded interface {
	selfEncoding
	UnmarshalCBOR([]byte) error
}

// codesItself says whether a type has methods for it, for which it must have a
// name.
func codesItself(t reflect.Type) bool {
	return t.PkgPath() != "" && reflect.PointerTo(t).Implements(reflect.TypeFor[selfCoded]())
}

// newDecoder panics where Marshal would not do: for a type that has no place in
// a record, nested deeper than the format allows, or within itself.
func newDecoder(t reflect.Type, depth int) decodeFunc {
	if depth > maxNesting {
		panic(fmt.Sprintf("image: %s nests too deep", t))
	}
	if codesItself(t) {
		return decodeSelf
	}
	switch t.Kind() {
	case reflect.Bool:
		return decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeUint
	case reflect.String:
		return decodeString
	case reflect.Slice, reflect.Array:
		return newListDecoder(t, depth)
	case reflect.Pointer:
		return newPointerDecoder(t, depth)
	case reflect.Map:
		return newMapDecoder(t, depth)
	case reflect.Struct:
		return newStructDecoder(t, depth)
	}
	panic(fmt.Sprintf("image: a %s in a record", t))
}

// decodeSelf has the type decode its own item: a byte string, always, of
// which it refuses what it would not write.
func decodeSelf(d *decoder, v reflect.Value) {
	all := d.rest
	d.take(d.head(majorBytes, anyNumber))
	if d.check(v.Type()); d.bad {
		return
	}
	err := v.Addr().Interface().(selfCoded).UnmarshalCBOR(all[:len(all)-len(d.rest)])
	switch {
	case errors.Is(err, ErrLimit):
		d.bad, d.err = true, err
	case err != nil:
		d.refuse("%w", err)
	}
}

func decodeBool(d *decoder, v reflect.Value) {
	b := d.take(1)
	if d.bad || b[0] != simpleFalse && b[0] != simpleTrue {
		d.refuse("no bool")
		return
	}
	v.SetBool(b[0] == simpleTrue)
}

func decodeUint(d *decoder, v reflect.Value) {
	n := d.head(majorUint, anyNumber)
	d.bad = d.bad || v.OverflowUint(n)
	v.SetUint(n)
	d.check(v.Type())
}

func decodeInt(d *decoder, v reflect.Value) {
	var n int64
	if len(d.rest) > 0 && d.rest[0]&majorMask == majorNegative {
		n = -1 - int64(d.head(majorNegative, math.MaxInt64))
	} else {
		n = int64(d.head(majorUint, math.MaxInt64))
	}
	d.bad = d.bad || v.OverflowInt(n)
	v.SetInt(n)
	d.check(v.Type())
}

func decodeString(d *decoder, v reflect.Value) {
	b := d.take(d.head(majorText, anyNumber))
	d.bad = d.bad || !utf8.Valid(b)
	v.SetString(string(b))
	d.check(v.Type())
}

// newListDecoder is for slices and arrays: of bytes they are byte strings.
func newListDecoder(t reflect.Type, depth int) decodeFunc {
	if t.Elem().Kind() == reflect.Uint8 {
		return decodeBytesTo
	}
	element := newDecoder(t.Elem(), depth+1)
	return func(d *decoder, v reflect.Value) {
		n := d.count(majorArray, d.arrays)
		if t.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(t, n, n))
		}
		if n != v.Len() {
			d.bad = true
		}
		for i := 0; i < n && !d.bad; i++ {
			element(d, v.Index(i))
		}
		d.check(t)
	}
}

func decodeBytesTo(d *decoder, v reflect.Value) {
	b := d.take(d.head(majorBytes, anyNumber))
	if v.Kind() == reflect.Slice {
		v.SetBytes(append(make([]byte, 0, len(b)), b...))
	} else if d.bad = d.bad || len(b) != v.Len(); !d.bad {
		copy(v.Bytes(), b)
	}
	d.check(v.Type())
}

func newPointerDecoder(t reflect.Type, depth int) decodeFunc {
	element := newDecoder(t.Elem(), depth)
	return func(d *decoder, v reflect.Value) {
		if len(d.rest) > 0 && d.rest[0] == simpleNull {
			d.take(1)
			return
		}
		v.Set(reflect.New(t.Elem()))
		element(d, v.Elem())
	}
}

// newMapDecoder is for maps with strings for keys, in the order of their
// encodings: the shorter first.
func newMapDecoder(t reflect.Type, depth int) decodeFunc {
	key, element := newDecoder(t.Key(), depth+1), newDecoder(t.Elem(), depth+1)
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("image: a %s in a record", t))
	}
	return func(d *decoder, v reflect.Value) {
		n := d.count(majorMap, maxMapPairs)
		v.Set(reflect.MakeMapWithSize(t, n))
		last := ""
		for i := 0; i < n && !d.bad; i++ {
			k, e := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			key(d, k)
			if s := k.String(); i > 0 && cmp.Or(cmp.Compare(len(last), len(s)), strings.Compare(last, s)) >= 0 {
				d.refuse("key %+q out of order", s)
			} else {
				last = s
			}
			element(d, e)
			v.SetMapIndex(k, e)
		}
		d.check(t)
	}
}

// field is one of a struct, its own or of one that is embedded.
type field struct {
	index  []int
	typ    reflect.Type
	key    uint64
	omit   bool // absent if it is empty
	always bool // never empty, whatever it is encoded as
	decodeFunc
}

// newStructDecoder is for structs: maps from their fields' numbers.
func newStructDecoder(t reflect.Type, depth int) decodeFunc {
	fields := layoutOf(t)
	for i := range fields {
		fields[i].decodeFunc = newDecoder(fields[i].typ, depth+1)
	}
	return func(d *decoder, v reflect.Value) {
		n := d.count(majorMap, maxMapPairs)
		for i := range fields {
			f := &fields[i]
			if n > 0 && d.nextKey(f.key) {
				n--
				f.decode(d, v.FieldByIndex(f.index))
			} else if !f.omit {
				d.refuse("not there")
			}
			if d.bad {
				d.check(f.typ)
				d.err = fmt.Errorf("field %d: %w", f.key, d.err)
				return
			}
		}
		if n > 0 {
			d.refuse("%d fields that are unknown, empty or out of order", n)
		}
		d.check(t)
	}
}

// nextKey takes the key if it is what comes next.
func (d *decoder) nextKey(key uint64) bool {
	p := d.parser
	if p.head(majorUint, anyNumber) != key || p.bad {
		return false
	}
	d.parser = p
	return true
}

// decode fills the field; one that could be absent must not be empty.
func (f *field) decode(d *decoder, v reflect.Value) {
	all := d.rest
	f.decodeFunc(d, v)
	if !d.bad && f.leftOut(all[:len(all)-len(d.rest)], v) {
		d.refuse("there and empty")
	}
}

// layoutOf lists the fields of a struct in the order of their keys.
func layoutOf(t reflect.Type) []field {
	fields := fieldsOf(t, nil)
	slices.SortFunc(fields, func(a, b field) int { return cmp.Compare(a.key, b.key) })
	for i := range fields[min(1, len(fields)):] {
		if fields[i].key == fields[i+1].key {
			panic(fmt.Sprintf("image: %s has two fields %d", t, fields[i].key))
		}
	}
	return fields
}

func fieldsOf(t reflect.Type, within []int) (out []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clip(within), i)
		tag := f.Tag.Get("cbor")
		switch {
		case tag == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			out = append(out, fieldsOf(f.Type, index)...)
			continue
		case !f.IsExported():
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		key, err := strconv.ParseUint(name, 10, 32)
		if err != nil || options != "keyasint" && options != "keyasint,omitempty" {
			panic(fmt.Sprintf("image: field %s of %s has the tag %q", f.Name, t, tag))
		}
		out = append(out, field{index: index, typ: f.Type, key: key, omit: options != "keyasint",
			always: codesItself(f.Type)})
	}
	return out
}
