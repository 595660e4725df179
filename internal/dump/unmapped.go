package dump

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// overflowID is what the kernel shows in the place of a user or group that has
// no number in a user namespace (user_namespaces(7)).
const overflowID = 65534

// unmapped refuses ids of others that ckpt's user namespace has no numbers for:
// the record would name nobody, who is somebody else at the restore.
func (s *session) unmapped(o *object, w *written) (out []*kind.Unsupported) {
	users, groups := hides(s.opts.Header.Caller.UIDMap), hides(s.opts.Header.Caller.GIDMap)
	if !users && !groups {
		return nil
	}
	for i := range w.records {
		r := &w.records[i]
		body, err := s.table.Named(r.Kind).Decode(r.Version, r.Body)
		if err != nil {
			continue // the ceiling meets it again
		}
		hidden := false
		_ = kind.Walk(body, func(v reflect.Value) error {
			switch id := v.Interface().(type) {
			case credmap.UID:
				hidden = hidden || users && id == overflowID
			case credmap.GID:
				hidden = hidden || groups && id == overflowID
			}
			return nil
		})
		if hidden {
			out = append(out, refusal(o.name(), &kind.Unsupported{Why: fmt.Sprintf("it has to do with a user or group that has no number in ckpt's user namespace (%s)", r.Kind),
				Hint: "run ckpt outside of the user namespace"}))
		}
	}
	return out
}

// hides says whether some ids have no number here. Who is 65534 by right is
// somebody.
func hides(m []image.IDRange) bool {
	return len(m) > 0 && !slices.ContainsFunc(m, func(r image.IDRange) bool { return r.Inside <= overflowID && overflowID-r.Inside < r.Count })
}
