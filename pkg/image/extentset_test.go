package image_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ckptool/ckpt/pkg/image"
)

// places is a set of extents over 64 places, as one bit for each.
type places uint64

func (p places) extents() (x image.Extents) {
	for i := range uint64(64) {
		if p>>i&1 == 1 {
			x = x.Join(image.Extent{Off: i, Len: 1})
		}
	}
	return x
}

// split is extents with the same places, neighbours not joined.
func (p places) split() (x image.Extents) {
	for i := range uint64(64) {
		if p>>i&1 == 1 {
			x = append(x, image.Extent{Off: i, Len: 1})
		}
	}
	return x
}

func placesOf(t *testing.T, x image.Extents) (p places) {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Fatalf("%v: %v", x, err)
	}
	for _, e := range x {
		for i := e.Off; i < e.End(); i++ {
			p |= 1 << i
		}
	}
	return p
}

func TestExtentSets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		a, b := places(random.Uint64()&random.Uint64()), places(random.Uint64()|random.Uint64()&random.Uint64())
		for _, x := range []image.Extents{a.extents(), a.split()} {
			if got := placesOf(t, x.Minus(b.extents())); got != a&^b {
				t.Fatalf("%b minus %b is %b", a, b, got)
			}
			from, to := random.Uint64N(64), random.Uint64N(64)
			want := a & (1<<to - 1) &^ (1<<from - 1) // nothing where from is behind to
			if got := placesOf(t, x.Clip(from, to)); got != want {
				t.Fatalf("%b from %d to %d is %b", a, from, to, got)
			}
			sum, ok := x.Plus(b.split())
			if ok != (a&b == 0) || ok && !slices.Equal(sum, (a|b).extents()) {
				t.Fatalf("%b plus %b is %v, %v", a, b, sum, ok)
			}
			if sum, ok := x.Plus((b &^ a).extents()); !ok || !slices.Equal(sum, (a|b&^a).extents()) {
				t.Fatalf("%b plus %b is %v, %v", a, b&^a, sum, ok)
			}
		}
	}
}
