package kinds

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

type mapRouteRecord struct {
	Route uint8 `cbor:"1,keyasint"` // kind.MapRoute; a number of images
}

// MapRoute notes of each mapped inode how ckpt found it: whoever reads the
// image can tell what was saved as it was from what was saved as the tree saw
// it. A restore does nothing about it.
func MapRoute() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, mapRouteRecord]{
		Name:  "maproute",
		At:    plan.Inode,
		Match: func(i *kind.InodeSite) bool { return i.Route != kind.MapNone },
		Dump: func(_ kind.Dump, i *kind.InodeSite, _ []plan.Result) (mapRouteRecord, error) {
			return mapRouteRecord{uint8(i.Route)}, nil
		},
		Check: func(r mapRouteRecord) error {
			if routeNames()[kind.MapRoute(r.Route)] == "" {
				return fmt.Errorf("route %d", r.Route)
			}
			return nil
		},
		Plan: func(mapRouteRecord, *kind.Host) []plan.Step { return nil },
	})
}

func routeNames() map[kind.MapRoute]string {
	return map[kind.MapRoute]string{kind.MapLink: "map_files", kind.MapOpen: "descriptor", kind.MapPath: "path", kind.MapMemory: "memory"}
}

// MapRoutes counts the mapped inodes of an image by the way in which they were
// found: map_files, descriptor, path or memory.
func MapRoutes(records image.Records) map[string]int {
	out := map[string]int{}
	k := MapRoute()
	for _, r := range records {
		if r.Kind != k.Name() {
			continue
		}
		if v, err := k.Decode(r.Version, r.Body); err == nil {
			out[routeNames()[kind.MapRoute(v.(*mapRouteRecord).Route)]]++
		}
	}
	return out
}
