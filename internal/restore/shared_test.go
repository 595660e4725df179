package restore

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// rangedRecord is a mapping that knows where it lies.
type rangedRecord struct {
	Start uint64 `cbor:"1,keyasint"`
	End   uint64 `cbor:"2,keyasint"`
	More  uint32 `cbor:"3,keyasint,omitempty"`
}

func (r rangedRecord) Range() (start, end uint64) { return r.Start, r.End }

const page = 4096

func pagesAt(first, n uint64) image.Extent {
	return image.Extent{Off: 0x10000 + first*page, Len: n * page}
}

// newForked is a draft whose second process shares pages 1 and 3 of those
// that the first lends, from 1 to 3, in a mapping of 8 that both have. Each
// has a mapping of its own behind it.
func newForked(t *testing.T) *draft {
	d := newDraft(t)
	mapping := func(id uint32, first, n uint64) {
		e := pagesAt(first, n)
		d.set(plan.Mapping, id, "ranged", rangedRecord{Start: e.Off, End: e.End()})
	}
	d.tree.MMs[1].Mappings = 2
	mapping(1, 0, 8)
	mapping(2, 8, 1)
	mapping(3, 0, 8)
	mapping(4, 9, 1)
	d.m.Blobs = append(d.m.Blobs, image.Blob{Extents: image.Extents{pagesAt(1, 3)}})
	d.tree.MMs[0].Lent = 3
	d.tree.MMs[1].From, d.tree.MMs[1].Shared = 1, image.Extents{pagesAt(1, 1), pagesAt(3, 1)}
	return d
}

func (d *draft) decode() (*content, error) {
	b, err := image.Marshal(&d.tree)
	if err != nil {
		d.t.Fatal(err)
	}
	d.m.Tree = b
	return decode(&d.m, append(toys(), toy[*kind.MappingSite, rangedRecord]("ranged", plan.Mapping, true, nil)))
}

func TestShared(t *testing.T) {
	c, err := newForked(t).decode()
	if err != nil {
		t.Fatal(err)
	}
	f := c.forks[2]
	if got := ranges(f.keep); !slices.Equal(got, image.Extents{pagesAt(0, 8)}) || !slices.Equal(f.drop, image.Extents{pagesAt(2, 1)}) {
		t.Errorf("kept %v, dropped %v", got, f.drop)
	}
	if root := c.forks[1]; len(root.keep) > 0 || !root.lends[1] || root.lends[2] {
		t.Errorf("the root keeps %v and lends %v", root.keep, root.lends)
	}
	if c, err = newDraft(t).decode(); err != nil || c.forks != nil {
		t.Errorf("a tree that shares nothing: %v, %v", c.forks, err)
	}
}

// TestSharedRefused holds one change each that no dump can have written.
func TestSharedRefused(t *testing.T) {
	node := func(i int, f func(*kind.MMNode)) func(*draft) { return func(d *draft) { f(&d.tree.MMs[i]) } }
	lend := func(x ...image.Extent) func(*draft) { return func(d *draft) { d.m.Blobs[2].Extents = x } }
	for name, c := range map[string]struct {
		change func(*draft)
		want   string
	}{
		"from nobody":             {node(1, func(m *kind.MMNode) { m.From = 0 }), "does not have"},
		"from a stranger":         {node(1, func(m *kind.MMNode) { m.From = 9 }), "does not have"},
		"from itself":             {node(1, func(m *kind.MMNode) { m.From = 2 }), "does not have"},
		"the root, from its heir": {node(0, func(m *kind.MMNode) { m.From, m.Shared, m.Lent = 2, image.Extents{pagesAt(1, 1)}, 0 }), "does not have"},
		"what nobody lends":       {node(1, func(m *kind.MMNode) { m.Shared[1] = pagesAt(4, 1) }), "does not have"},
		"nothing is lent":         {node(0, func(m *kind.MMNode) { m.Lent = 0 }), "does not have"},
		"lent, a blob too far":    {node(0, func(m *kind.MMNode) { m.Lent = 4 }), "blob 4 of 3"},
		"lent outside":            {lend(pagesAt(1, 3), pagesAt(20, 1)), "no memory"},
		"lent in stub's place":    {lend(pagesAt(1, 3), image.Extent{Off: 1 << 40, Len: page}), "no memory"},
		"lent to nobody":          {lend(pagesAt(1, 3), pagesAt(8, 1)), "to nobody"},
		"lent and shared":         {node(1, func(m *kind.MMNode) { m.Lent = 3 }), "lends pages that it shares"},
		"lent, and none shares":   {node(1, func(m *kind.MMNode) { m.From, m.Shared = 0, nil }), "to nobody"},
		"shared outside":          {node(1, func(m *kind.MMNode) { m.Used = image.Extents{pagesAt(0, 3)} }), "no memory"},
		"half a page":             {node(1, func(m *kind.MMNode) { m.Shared[1].Len = 100 }), "no memory"},
		"pages out of order":      {node(1, func(m *kind.MMNode) { slices.Reverse(m.Shared) }), "extent 1"},
		"another mapping": {func(d *draft) {
			e := pagesAt(0, 8)
			d.set(plan.Mapping, 3, "ranged", rangedRecord{e.Off, e.End(), 7})
		}, "another mapping"},
		"a larger mapping": {func(d *draft) {
			e := pagesAt(0, 9)
			d.set(plan.Mapping, 3, "ranged", rangedRecord{e.Off, e.End(), 0})
		}, "another mapping"},
		"a mapping that is nowhere": {func(d *draft) { d.set(plan.Mapping, 3, "mapping", nothing{}) }, "no mapping"},
		"mappings over each other": {func(d *draft) {
			e := pagesAt(0, 8)
			d.set(plan.Mapping, 4, "ranged", rangedRecord{e.Off, e.End(), 0})
		}, "not where it has memory"},
	} {
		d := newForked(t)
		c.change(d)
		if _, err := d.decode(); !errors.Is(err, image.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
	}
}
