package dump

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// ceiling lists what a restore of these records may demand at most, by class:
// what it would demand for a caller who has nothing. It is signed in the
// header, so that a restore can give up all other authority before it decodes
// the first record.
func ceiling(table kind.Table, records []image.Record) ([]string, error) {
	const none = ^credmap.UID(0) - 1 // nobody's
	nobody := kind.Creds{UID: kind.UIDs{Real: none, Effective: none, Saved: none, FS: none},
		GID: kind.GIDs{Real: credmap.GID(none), Effective: credmap.GID(none), Saved: credmap.GID(none), FS: credmap.GID(none)}}
	nobody.Caps.Bounding = ^credmap.Caps(0) // or else it could never be had
	h := kind.Host{Caller: kind.Caller{Creds: nobody, Born: kind.Born{Creds: nobody, Nice: 19, OOMAdj: 1000}}, InTree: func(kind.PID) bool { return true }}
	out := plan.AnyRestore()
	for i := range records {
		r := &records[i]
		k := table.Named(r.Kind)
		body, err := k.Decode(r.Version, r.Body)
		if err != nil {
			return nil, fmt.Errorf("own record %d: %w", i, err)
		}
		h.Self = plan.Ref{Site: plan.Site(r.Site), ID: r.ID}
		h.Within = plan.Ref{Site: plan.Task, ID: 1}
		if h.Self.Site == plan.Mapping {
			h.Within.Site = plan.MM
		}
		for _, st := range k.Plan(body, &h) {
			for _, n := range st.Needs {
				out = addClasses(out, n)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func addClasses(out []string, n plan.Need) []string {
	for _, demand := range append([]string{n.Demand}, n.Any...) {
		if d, err := plan.ParseDemand(demand); err == nil && !slices.Contains(out, d.Class()) {
			out = append(out, d.Class())
		}
	}
	return out
}
