package credmap

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func names(name string) (uint32, bool) {
	id, ok := map[string]uint32{"alice": 1000, "bob": 1001, "12a": 5}[name]
	return id, ok
}

func TestParseRange(t *testing.T) {
	for s, want := range map[string]Range{"5:6": {5, 6, 1}, "0:0:1": {0, 0, 1}, "alice:bob": {1000, 1001, 1}, "7:alice": {7, 1000, 1},
		"100000:200000:65536": {100000, 200000, 65536}, "12a:1": {5, 1, 1}, "bob:4:1": {1001, 4, 1}} {
		if r, err := ParseRange(s, names); err != nil || r != want {
			t.Errorf("%s: %v, %v", s, r, err)
		}
	}
	for _, s := range []string{"", ":", "5", "5:", ":5", "5:6:", "5:6:7:8", "-1:5", "5:-1", "+5:5", "05:5", " 5:5", "5: 5", "4294967296:1", "5:6:0x10",
		"carol:5", "alice:bob:2", "1_0:5", "５:5"} {
		if r, err := ParseRange(s, names); !errors.Is(err, ErrMap) {
			t.Errorf("%q: %v, %v", s, r, err)
		}
	}
}

func TestParseFile(t *testing.T) {
	got, err := ParseFile([]byte("# a map\n\n0 100000 1000\n  alice:bob # her\n\t7\t8\n"), names)
	if want := []Range{{0, 100000, 1000}, {1000, 1001, 1}, {7, 8, 1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"1 2 3 4", "1", "1 carol", "1:2 3:", strings.Repeat("1 2\n", MaxRanges+1), strings.Repeat("x", 1<<20)} {
		if got, err := ParseFile([]byte(s), names); !errors.Is(err, ErrMap) {
			t.Errorf("%.20q: %d ranges, %v", s, len(got), err)
		}
	}
	if _, err := ParseFile([]byte("1 2\n\n3 carol"), names); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Error(err)
	}
}
