package restore

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// decodeRecords decodes all records, each for itself, on all processors: to
// make sure that bodies are what their kinds write takes longer than anything
// else before the tree is built.
func decodeRecords(all []image.Record, table kind.Table) ([]record, error) {
	out, errs := make([]record, len(all)), make([]error, len(all))
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; int(i) < len(all); i = next.Add(1) - 1 {
			out[i], errs[i] = decodeRecord(&all[i], table)
		}
	}
	var helpers sync.WaitGroup
	for range min(len(all)/16, runtime.GOMAXPROCS(0)-1) {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, bad("record %d: %w", i, err)
		}
	}
	return out, nil
}

func decodeRecord(r *image.Record, table kind.Table) (record, error) {
	k := table.Named(r.Kind)
	if k == nil {
		return record{}, fmt.Errorf("kind %+q is unknown to this program", r.Kind)
	}
	ref := plan.Ref{Site: plan.Site(r.Site), ID: r.ID}
	if k.Site() != ref.Site || ref.ID == 0 {
		return record{}, fmt.Errorf("kind %s does not belong to %s", r.Kind, ref)
	}
	body, err := k.Decode(r.Version, r.Body)
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", ref, err)
	}
	return record{ref: ref, kind: k, body: body}, nil
}

// enter takes note of what a record says of which object.
func (c *content) enter(r *record) error {
	by := told{r.ref, r.kind.Name()}
	if c.told[by] {
		return fmt.Errorf("%s has two records of kind %s", r.ref, by.kind)
	}
	c.told[by] = true
	if r.kind.Claims() {
		if c.claimed[r.ref] {
			return fmt.Errorf("%s is claimed twice", r.ref)
		}
		c.claimed[r.ref] = true
	}
	return nil
}
