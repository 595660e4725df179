package kind

import (
	"reflect"
	"slices"

	"github.com/ckptool/ckpt/pkg/credmap"
)

// MapIDs maps all ids of a record in place: those that are somebody's, and
// those that were only seen. Lists of groups stay in order. An error of the
// map is passed to bad, which may go on or end the walk by an error of its own.
func MapIDs(record any, m *credmap.Map, bad func(error) error) error {
	err := Walk(record, func(v reflect.Value) error {
		to, isID, err := mapped(v.Interface(), m)
		if err != nil {
			return bad(err)
		}
		if isID {
			v.SetUint(uint64(to))
		}
		return nil
	})
	if err == nil {
		sortGroups(reflect.ValueOf(record))
	}
	return err
}

func mapped(id any, m *credmap.Map) (to uint32, isID bool, err error) {
	switch id := id.(type) {
	case credmap.UID:
		u, err := m.UID(id)
		return uint32(u), true, err
	case credmap.GID:
		g, err := m.GID(id)
		return uint32(g), true, err
	case credmap.SeenUID:
		return uint32(m.SeenUID(id)), true, nil
	case credmap.SeenGID:
		return uint32(m.SeenGID(id)), true, nil
	}
	return 0, false, nil
}

// sortGroups puts lists of groups in order again, wherever they are.
func sortGroups(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			sortGroups(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() || f.Anonymous {
				sortGroups(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type() == reflect.TypeFor[[]credmap.GID]() {
			slices.Sort(v.Interface().([]credmap.GID))
			return
		}
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				sortGroups(v.Index(i))
			}
		}
	}
}
