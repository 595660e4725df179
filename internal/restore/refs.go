package restore

import (
	"fmt"
	"reflect"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// checkRefs walks a record and checks every reference in it. The types of
// the references are enough to find them, in kinds that are yet to be
// written as well.
func (c *content) checkRefs(body any) error {
	return walk(reflect.ValueOf(body), func(v reflect.Value) error {
		switch ref := v.Interface().(type) {
		case kind.FileRef:
			return c.checkRef(ref.Main())
		case kind.InodeRef:
			return c.checkRef(ref.Main())
		case kind.TaskRef:
			return c.checkRef(plan.Ref{Site: plan.Task, ID: uint32(ref)})
		case kind.BlobRef:
			if int(ref) > len(c.manifest.Blobs) {
				return fmt.Errorf("blob %d of %d", ref, len(c.manifest.Blobs))
			}
		}
		return nil
	})
}

func (c *content) checkRef(r plan.Ref) error {
	if r.ID != 0 && !c.known(r) {
		return fmt.Errorf("it refers to %s, which is not there", r)
	}
	return nil
}

// walk visits every number in a record.
func walk(v reflect.Value, visit func(reflect.Value) error) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return walk(v.Elem(), visit)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				if err := walk(v.Field(i), visit); err != nil {
					return err
				}
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := walk(v.Index(i), visit); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := walk(it.Value(), visit); err != nil {
				return err
			}
		}
	case reflect.Uint32, reflect.Int32:
		return visit(v)
	}
	return nil
}
