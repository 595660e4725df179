package host

import (
	"strings"
	"testing"
)

func TestNamesInTheSpool(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 2)
	for name, by := range map[string]uint32{"0-" + id: 0, "1000-" + id: 1000, "4294967295-" + id: 4294967295} {
		if got, ok := spooledBy(name); !ok || got != by {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", id, "-" + id, "01-" + id, "+1-" + id, "4294967296-" + id, "1-" + id[1:], "1-" + id + "0",
		"1-" + strings.ToUpper(id), "1-" + id[:15] + "/" + id[16:], "1-/" + id[1:], "1-" + id[1:] + "\n", "../1-" + id} {
		if by, ok := spooledBy(name); ok {
			t.Errorf("%q is %d's", name, by)
		}
	}
}
