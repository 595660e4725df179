package credmap

import (
	"errors"
	"math/rand/v2"
	"testing"
)

func TestMap(t *testing.T) {
	m, err := New([]Range{{1000, 2000, 10}, {0, 100000, 1}, {5, 7, 2}}, []Range{{10, 20, 1}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[UID]UID{1000: 2000, 1009: 2009, 0: 100000, 5: 7, 6: 8} {
		if got, err := m.UID(from); err != nil || got != to || m.OfUID(uint32(to)) != uint32(from) {
			t.Errorf("%d becomes %d (%v), and that was %d", from, got, err, m.OfUID(uint32(to)))
		}
	}
	for _, id := range []UID{999, 1010, 1, 4, 7, none} {
		if got, err := m.UID(id); !errors.Is(err, ErrUnmapped) || got != none {
			t.Errorf("%d becomes %d (%v)", id, got, err)
		}
	}
	if g, err := m.GID(10); err != nil || g != 20 || m.OfGID(20) != 10 {
		t.Error(g, err)
	}
	if m.SeenUID(1001) != 2001 || m.SeenUID(17) != none || m.SeenGID(10) != 20 || m.SeenGID(11) != none {
		t.Error("what was only seen is mapped in another way")
	}
}

// Whatever stays as it is must not meet what was mapped, in either order.
func TestClash(t *testing.T) {
	for _, order := range [][]UID{{5, 7}, {7, 5}} {
		m, err := New([]Range{{5, 7, 1}}, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.UID(order[0]); err != nil {
			t.Error(err)
		}
		if got, err := m.UID(order[1]); !errors.Is(err, ErrClash) {
			t.Errorf("%v: both are %d (%v)", order, got, err)
		}
		if got, err := m.UID(8); got != 8 || err != nil {
			t.Error(got, err)
		}
		if _, err := m.UID(none); err == nil {
			t.Error("-1 is somebody")
		}
	}
}

func TestNilMap(t *testing.T) {
	var m *Map
	if u, err := m.UID(5); u != 5 || err != nil || m.OfUID(5) != 5 || m.OfGID(6) != 6 || m.SeenUID(7) != 7 || m.SeenGID(8) != 8 {
		t.Error("it changes something")
	}
}

func TestBadMaps(t *testing.T) {
	many := make([]Range, MaxRanges+1)
	for i := range many {
		many[i] = Range{uint32(i), uint32(i), 1}
	}
	for name, ranges := range map[string][]Range{
		"none":              {{1, 2, 0}},
		"-1":                {{none, 5, 1}},
		"to -1":             {{5, none, 1}},
		"up to -1":          {{none - 1, 5, 2}},
		"around the end":    {{none - 5, 5, 100}},
		"target around":     {{5, none - 5, 100}},
		"all":               {{0, 0, none}, {5, 5, 1}},
		"two for one":       {{1, 5, 1}, {2, 5, 1}},
		"one for two":       {{1, 5, 1}, {1, 6, 1}},
		"overlap":           {{10, 100, 10}, {19, 200, 1}},
		"targets overlap":   {{10, 100, 10}, {30, 109, 5}},
		"one in another":    {{10, 100, 100}, {20, 500, 1}},
		"the same twice":    {{1, 1, 1}, {1, 1, 1}},
		"more than allowed": many,
	} {
		if _, err := New(ranges, nil, true); !errors.Is(err, ErrMap) {
			t.Errorf("%s: users: %v", name, err)
		}
		if _, err := New(nil, ranges, true); !errors.Is(err, ErrMap) {
			t.Errorf("%s: groups: %v", name, err)
		}
	}
	if _, err := New([]Range{{0, 0, none}}, []Range{{0, 0, none}}, false); err != nil {
		t.Error("all ids that there are:", err)
	}
}

// FuzzMap holds a map against the laws: no two become one, none becomes -1,
// the way back leads back, and only what is in a range or in the rest is mapped.
func FuzzMap(f *testing.F) {
	f.Add(uint32(1000), uint32(2000), uint32(10), uint32(5), uint32(7), uint32(1), true, uint64(1))
	f.Add(uint32(0), uint32(0), uint32(none), uint32(5), uint32(7), uint32(1), false, uint64(2))
	f.Add(uint32(none), uint32(0), uint32(1), uint32(5), uint32(none), uint32(3), true, uint64(3))
	f.Fuzz(func(t *testing.T, f1, t1, c1, f2, t2, c2 uint32, rest bool, seed uint64) {
		ranges := []Range{{f1, t1, c1}, {f2, t2, c2}}
		m, err := New(ranges, nil, rest)
		if err != nil {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		ids := []uint32{0, none, none - 1, f1, f1 + c1 - 1, f1 + c1, f1 - 1, t1, t1 + c1, f2, f2 + c2, t2}
		for range 50 {
			ids = append(ids, f1+rnd.Uint32N(20), t2+rnd.Uint32N(20), rnd.Uint32())
		}
		was := map[uint32]uint32{}
		for _, id := range ids {
			got, err := m.UID(UID(id))
			in := id-f1 < c1 || id-f2 < c2
			if err != nil {
				if got != none || in && id != none && !errors.Is(err, ErrClash) {
					t.Fatalf("%v: %d: %d, %v", ranges, id, got, err)
				}
				continue
			}
			if from, ok := was[uint32(got)]; got == none || id == none || ok && from != id || m.OfUID(uint32(got)) != id || !in && (!rest || uint32(got) != id) {
				t.Fatalf("%v, rest %v: %d became %d, which %d had become", ranges, rest, id, got, from)
			}
			was[uint32(got)] = id
		}
	})
}
