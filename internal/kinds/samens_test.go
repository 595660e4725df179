package kinds

import (
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
)

func TestSameNamespace(t *testing.T) {
	site := &kind.NamespaceSite{ID: 7, Type: "net", Own: true, Task: sampleTask()}
	_, steps := through(t, SameNamespace(), site)
	golden(t, steps)

	site.Own = false
	refused(t, SameNamespace(), site, "net namespace")
	checks(t, SameNamespace(),
		[]sameNSRecord{{"user"}, {"time_for_children"}},
		map[string]sameNSRecord{"a type that is none": {"life"}, "no type": {}})
}
