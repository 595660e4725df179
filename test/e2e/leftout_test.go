package e2e

import (
	"slices"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/test/harness"
)

// TestLeftOut signs images that lack one record each of those that say
// something of every thread, process or address space. What such a record
// restricts would be lost, so rstr wants it, whoever signed.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	o := newOriginal(t, "threads")
	if o == nil {
		t.Fatal("no image")
	}
	tried := map[plan.Site]int{}
	for _, k := range kinds.All() {
		last := 0 // the record of the last object, since an engine may look at the first alone
		for i, r := range o.m.Records {
			if r.Kind == k.Name() {
				last = i
			}
		}
		if !k.Always() || o.m.Records[last].Kind != k.Name() {
			continue
		}
		tried[k.Site()]++
		img := o.rewrite(t, func(m *image.Manifest) { m.Records = slices.Delete(m.Records, last, last+1) })
		refusal(t, rstr(t, "--verify", "--detach", img), cli.BadImage, "no record of kind "+k.Name())
		if pid := int(o.m.PIDs[0]); harness.Exists(pid) {
			t.Fatalf("without %s: PID %d is there", k.Name(), pid)
		}
	}
	if tried[plan.Thread] < 10 || tried[plan.Task] < 5 || tried[plan.MM] < 3 {
		t.Errorf("tried without %v records", tried)
	}
}
