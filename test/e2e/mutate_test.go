package e2e

import (
	"fmt"
	"math"
	"reflect"
	"slices"
)

// field is a value somewhere in a record, and the way to it.
type field struct {
	reflect.Value
	name string
}

// mutate changes one field below the pointer v, and says which.
func (f *forger) mutate(v any) string {
	fields := fieldsOf(nil, "", reflect.ValueOf(v).Elem())
	if len(fields) == 0 {
		return "nothing to change"
	}
	at := fields[f.IntN(len(fields))]
	before := fmt.Sprintf("%.40v", at.Value)
	f.alter(at, fields)
	return fmt.Sprintf("%s: %s -> %.40v", at.name, before, at.Value)
}

// fieldsOf lists all that can be set below v.
func fieldsOf(out []field, name string, v reflect.Value) []field {
	switch v.Kind() {
	case reflect.Pointer:
		out = append(out, field{v, name})
		if !v.IsNil() {
			out = fieldsOf(out, name, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() || v.Type().Field(i).Anonymous {
				out = fieldsOf(out, name+"."+v.Type().Field(i).Name, f)
			}
		}
		return out
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			out = append(out, field{v, name})
		}
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				out = fieldsOf(out, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
		}
	default:
		if v.CanSet() {
			out = append(out, field{v, name})
		}
	}
	return out
}

func (f *forger) alter(at field, all []field) {
	v := at.Value
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(string(f.text([]byte(v.String()))))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.number(uint64(v.Int()), all)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.number(v.Uint(), all))
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		} else {
			v.SetZero()
		}
	case reflect.Slice:
		f.alterSlice(v)
	}
}

func (f *forger) alterSlice(v reflect.Value) {
	n := v.Len()
	switch {
	case v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(f.text(v.Bytes()))
	case n == 0:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case f.IntN(3) == 0: // one less
		i := f.IntN(n)
		v.Set(reflect.AppendSlice(v.Slice3(0, i, i), v.Slice(i+1, n)))
	case f.IntN(2) == 0: // one twice
		v.Set(reflect.Append(v.Slice3(0, n, n), v.Index(f.IntN(n))))
	default: // very many
		for v.Len() < 3000 {
			v.Set(reflect.AppendSlice(v.Slice3(0, v.Len(), v.Len()), v))
		}
	}
}

// number gives one that is near the old one, at an edge, or of another field.
func (f *forger) number(old uint64, all []field) uint64 {
	switch f.IntN(8) {
	case 0:
		return 0
	case 1:
		return old + 1
	case 2:
		return old - 1
	case 3:
		return f.Uint64()
	case 4:
		edges := []uint64{1, 2, 4096, math.MaxInt32, math.MaxUint32, math.MaxInt64, math.MaxUint64, 1 << 31, 1 << 63, 1 << 16, 0x10_0000_0000, 0x10_0000_1000, 1 << 47}
		return edges[f.IntN(len(edges))]
	case 5:
		return old ^ 1<<f.IntN(64)
	case 6:
		return uint64(f.IntN(40))
	}
	other := all[f.IntN(len(all))]
	switch {
	case other.CanInt():
		return uint64(other.Int())
	case other.CanUint():
		return other.Uint()
	}
	return old * 2
}

// text gives another path or name.
func (f *forger) text(old []byte) []byte {
	choice := []string{"", "/", "/etc/passwd", "/tmp", "/tmp/forged", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/1/mem", "/proc/self/exe",
		"/proc/self/fd/0", "/proc/sys/kernel/hostname", "/dev/tty", "/sys", "..", "\x00", "\xff", string(slices.Repeat([]byte("x"), 5000)), "/" + string(slices.Repeat([]byte("y"), 300))}
	if f.IntN(3) == 0 && len(old) > 0 {
		out := slices.Clone(old)
		out[f.IntN(len(out))] ^= 1 << f.IntN(8)
		return out
	}
	return []byte(choice[f.IntN(len(choice))])
}
