package restore

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// decodeRecords decodes all records, each for itself.
func decodeRecords(all []image.Record, table kind.Table) ([]record, error) {
	out, errs := make([]record, len(all)), make([]error, len(all))
	named := make(map[string]kind.Kind, len(table))
	for _, k := range table {
		named[k.Name()] = k
	}
	inBatches(len(all), batch, func(from, to int) {
		for i := from; i < to; i++ {
			out[i], errs[i] = decodeRecord(&all[i], named)
		}
	})
	for i, err := range errs {
		if err != nil {
			return nil, bad("record %d: %w", i, err)
		}
	}
	return out, nil
}

// batch is how many records are worth the way to another processor.
const batch = 32

// inBatches does something for the numbers below n, size at a time, on all
// processors where that is worth it: to make sense of the records of a large
// tree takes longer than anything else before it is built.
func inBatches(n, size int, do func(from, to int)) {
	var next atomic.Int64
	work := func() {
		for to := int(next.Add(int64(size))); to-size < n; to = int(next.Add(int64(size))) {
			do(to-size, min(to, n))
		}
	}
	var helpers sync.WaitGroup
	for range min(n/(2*size), runtime.GOMAXPROCS(0)-1) {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
}

func decodeRecord(r *image.Record, named map[string]kind.Kind) (record, error) {
	k := named[r.Kind]
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
	if r.kind.Always() {
		c.always[r.ref]++
	}
	if r.kind.Claims() {
		if c.claimed[r.ref] {
			return fmt.Errorf("%s is claimed twice", r.ref)
		}
		c.claimed[r.ref] = true
	}
	return nil
}

// wholly wants a record of each kind that says something of every object of
// its sort. An image that left one out would restore a program without what
// the record restricts: its credentials, its limits.
func (c *content) wholly(table kind.Table) error {
	every := map[plan.Site][]kind.Kind{}
	for _, k := range table {
		if k.Always() {
			every[k.Site()] = append(every[k.Site()], k)
		}
	}
	whole := func(ref plan.Ref) error {
		if c.always[ref] == len(every[ref.Site]) {
			return nil
		}
		i := slices.IndexFunc(every[ref.Site], func(k kind.Kind) bool { return !c.told[told{ref, k.Name()}] })
		return fmt.Errorf("%s has no record of kind %s", c.nameOf(ref), every[ref.Site][i].Name())
	}
	for id := range c.tables {
		if err := whole(plan.Ref{Site: plan.FDTable, ID: id}); err != nil {
			return err
		}
	}
	for ref := range c.claimed {
		if err := whole(ref); err != nil {
			return err
		}
	}
	return nil
}
