package kind

import "reflect"

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
		return walkFields(v, visit)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
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
