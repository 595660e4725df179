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
	return kind.Walk(body, func(v reflect.Value) error {
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
