package kind

import (
	"reflect"
	"sync"
)

// Walk visits every number in a record that has a type of its own: the ids,
// capabilities and references, whose types say what they are. So references
// are checked, and ids mapped, in kinds that are yet to be written as well.
// The record is what Decode gave. An error of visit ends the walk.
func Walk(record any, visit func(reflect.Value) error) error {
	return walk(reflect.ValueOf(record), visit)
}

func walk(v reflect.Value, visit func(reflect.Value) error) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return walk(v.Elem(), visit)
	case reflect.Struct:
		if !bears(v.Type()) {
			return nil
		}
		return walkFields(v, visit)
	case reflect.Slice, reflect.Array:
		if !bears(v.Type().Elem()) {
			return nil
		}
		for i := range v.Len() {
			if err := walk(v.Index(i), visit); err != nil {
				return err
			}
		}
	case reflect.Uint32, reflect.Int32, reflect.Uint64:
		if v.Type().PkgPath() != "" {
			return visit(v)
		}
	}
	return nil
}

// walkFields walks into embedded structs whether their type is exported or
// not, as the codec does.
func walkFields(v reflect.Value, visit func(reflect.Value) error) error {
	t := v.Type()
	for i := range v.NumField() {
		if f := t.Field(i); !f.IsExported() && !f.Anonymous {
			continue
		}
		if err := walk(v.Field(i), visit); err != nil {
			return err
		}
	}
	return nil
}

// borne says of types whether values of them bear numbers to visit.
var borne sync.Map // reflect.Type: bool

// bears spares Walk to look at each of many records that have none.
func bears(t reflect.Type) bool {
	if known, ok := borne.Load(t); ok {
		return known.(bool)
	}
	has := false
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		has = bears(t.Elem())
	case reflect.Interface:
		has = true
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			has = has || (f.IsExported() || f.Anonymous) && bears(f.Type)
		}
	case reflect.Uint32, reflect.Int32, reflect.Uint64:
		has = t.PkgPath() != ""
	}
	borne.Store(t, has)
	return has
}
