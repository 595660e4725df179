package image

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// The encoder goes by the type of what it is given, as the decoder does, and
// gives each item the one form that the decoder takes.

// selfEncoding is a type that encodes its own item.
type selfEncoding interface{ MarshalCBOR() ([]byte, error) }

type encoder struct {
	out []byte
	err error // the first
}

// usual is what most records fit into.
const usual = 64

// encodeFunc appends a value, which is addressable.
type encodeFunc func(*encoder, reflect.Value)

// encoders are those of the types met so far.
var encoders sync.Map // reflect.Type: encodeFunc

// encode gives the encoding of v, or of what v points to.
func encode(v any) ([]byte, error) {
	from := reflect.ValueOf(v)
	if from.Kind() == reflect.Pointer {
		from = from.Elem()
	} else {
		at := reflect.New(from.Type()).Elem()
		at.Set(from)
		from = at
	}
	e := encoder{out: make([]byte, 0, usual)}
	encoderOf(from.Type())(&e, from)
	return e.out, e.err
}

func encoderOf(t reflect.Type) encodeFunc {
	if f, ok := encoders.Load(t); ok {
		return f.(encodeFunc)
	}
	f := newEncoder(t, 0)
	encoders.Store(t, f)
	return f
}

// newEncoder panics for what newDecoder panics for.
func newEncoder(t reflect.Type, depth int) encodeFunc {
	if depth > maxNesting {
		panic(fmt.Sprintf("image: %s nests too deep", t))
	}
	if codesItself(t) {
		return encodeSelf
	}
	switch t.Kind() {
	case reflect.Bool:
		return encodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return encodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(e *encoder, v reflect.Value) { e.head(majorUint, v.Uint()) }
	case reflect.String:
		return encodeString
	case reflect.Slice, reflect.Array:
		return newListEncoder(t, depth)
	case reflect.Pointer:
		return newPointerEncoder(t, depth)
	case reflect.Map:
		return newMapEncoder(t, depth)
	case reflect.Struct:
		return newStructEncoder(t, depth)
	}
	panic(fmt.Sprintf("image: a %s in a record", t))
}

func (e *encoder) head(major byte, n uint64) { e.out = appendHead(e.out, major, n) }

func encodeSelf(e *encoder, v reflect.Value) {
	b, err := v.Addr().Interface().(selfEncoding).MarshalCBOR()
	e.out, e.err = append(e.out, b...), cmp.Or(e.err, err)
}

func encodeBool(e *encoder, v reflect.Value) {
	if v.Bool() {
		e.out = append(e.out, simpleTrue)
	} else {
		e.out = append(e.out, simpleFalse)
	}
}

func encodeInt(e *encoder, v reflect.Value) {
	if n := v.Int(); n < 0 {
		e.head(majorNegative, uint64(-1-n))
	} else {
		e.head(majorUint, uint64(n))
	}
}

func encodeString(e *encoder, v reflect.Value) {
	e.head(majorText, uint64(v.Len()))
	e.out = append(e.out, v.String()...)
}

func encodeByteString(e *encoder, v reflect.Value) {
	e.head(majorBytes, uint64(v.Len()))
	e.out = append(e.out, v.Bytes()...)
}

// newListEncoder is for slices and arrays: of bytes they are byte strings.
func newListEncoder(t reflect.Type, depth int) encodeFunc {
	if t.Elem().Kind() == reflect.Uint8 {
		return encodeByteString
	}
	element := newEncoder(t.Elem(), depth+1)
	return func(e *encoder, v reflect.Value) {
		n := v.Len()
		e.head(majorArray, uint64(n))
		for i := range n {
			element(e, v.Index(i))
		}
	}
}

func newPointerEncoder(t reflect.Type, depth int) encodeFunc {
	element := newEncoder(t.Elem(), depth)
	return func(e *encoder, v reflect.Value) {
		if v.IsNil() {
			e.out = append(e.out, simpleNull)
			return
		}
		element(e, v.Elem())
	}
}

// newMapEncoder is for maps with strings for keys, in the order of their
// encodings: the shorter first.
func newMapEncoder(t reflect.Type, depth int) encodeFunc {
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("image: a %s in a record", t))
	}
	key, element := newEncoder(t.Key(), depth+1), newEncoder(t.Elem(), depth+1)
	return func(e *encoder, v reflect.Value) {
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			return cmp.Or(cmp.Compare(a.Len(), b.Len()), strings.Compare(a.String(), b.String()))
		})
		e.head(majorMap, uint64(len(keys)))
		for _, k := range keys {
			at := reflect.New(t.Elem()).Elem()
			at.Set(v.MapIndex(k))
			key(e, k)
			element(e, at)
		}
	}
}

// newStructEncoder is for structs: maps from their fields' numbers.
func newStructEncoder(t reflect.Type, depth int) encodeFunc {
	fields := layoutOf(t)
	each := make([]encodeFunc, len(fields))
	for i := range fields {
		each[i] = newEncoder(fields[i].typ, depth+1)
	}
	return func(e *encoder, v reflect.Value) {
		at, n := len(e.out), 0
		e.head(majorMap, 0)
		for i := range fields {
			f := &fields[i]
			before := len(e.out)
			e.head(majorUint, f.key)
			value := len(e.out)
			field := v.FieldByIndex(f.index)
			if each[i](e, field); f.leftOut(e.out[value:], field) {
				e.out = e.out[:before]
				continue
			}
			n++
		}
		e.setHead(at, uint64(n))
	}
}

// setHead puts the number of pairs into the head of a map that was begun without:
// most have so few that it stays as long.
func (e *encoder) setHead(at int, n uint64) {
	var room [9]byte
	head := appendHead(room[:0], majorMap, n)
	e.out[at] = head[0]
	e.out = slices.Insert(e.out, at+1, head[1:]...)
}

// leftOut says whether a field is absent that is encoded as this.
func (f *field) leftOut(item []byte, v reflect.Value) bool {
	return f.omit && !f.always && isEmptyItem(item) && (f.typ.Kind() != reflect.Pointer || v.IsNil())
}

// isEmptyItem says whether an item is zero, empty, false or null.
func isEmptyItem(item []byte) bool {
	return len(item) == 1 && bytes.IndexByte([]byte{majorUint, majorBytes, majorText, majorArray, majorMap, simpleFalse, simpleNull}, item[0]) >= 0
}
