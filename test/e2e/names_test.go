package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNames: messages about files speak of paths and descriptors, those about mappings of addresses, and none of numbers that only the
// image knows.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"file_regular", "file_deleted", "mem_memfd", "mem_shared"} {
		j := fixture(t, name)
		res := rstr(t, "--verify", "--plan", "--json", "-v", j.dump())
		var shown struct {
			Steps []struct{ Object, Text string }
			Needs []struct{ Object string }
		}
		if err := json.Unmarshal([]byte(res.Stdout), &shown); err != nil || len(shown.Steps) < 20 || len(shown.Needs) == 0 {
			t.Fatalf("%s: %d steps, %v: %v", name, len(shown.Steps), err, res)
		}
		var objects []string
		for _, s := range shown.Steps {
			objects = append(objects, s.Object+": "+s.Text)
		}
		for _, n := range shown.Needs {
			objects = append(objects, n.Object)
		}
		for _, o := range objects {
			for _, number := range []string{"inode ", "file ", "mapping "} {
				if rest, ok := strings.CutPrefix(o, number); ok && len(rest) > 0 && rest[0] <= '9' && !strings.Contains(o, "-") {
					t.Errorf("%s: %s", name, o)
				}
			}
		}
		if want := fmt.Sprintf("of process %d (%q), %q: open it again (rw)", j.pid, name, filepath.Join(j.dir, "rw")); name == "file_regular" &&
			!slices.ContainsFunc(objects, func(o string) bool { return strings.HasPrefix(o, "fd ") && strings.HasSuffix(o, want) }) {
			t.Errorf("nothing ends in %s:\n%s", want, strings.Join(objects, "\n"))
		}
	}
}
