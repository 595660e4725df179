package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// fixtureCycles is how often each fixture is dumped and restored.
const fixtureCycles = 4

// TestFixtures takes each program of testdata/fixtures through a dump that lets it run and then through some whole cycles.
func TestFixtures(t *testing.T) {
	names, err := shared.Sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := fixture(t, name)
			j.runsOn()
			for range fixtureCycles {
				j.cycle()
			}
			j.goesOn(5)
		})
	}
}

// runsOn dumps without --kill: the tree goes on as it was.
func (j *job) runsOn() {
	j.t.Helper()
	before := harness.Stable(j.pid, j.status)
	if res := ckpt(j.t, "--sign", "-o", j.image(), strconv.Itoa(j.pid)); !res.OK() {
		j.t.Fatalf("dump: %v", res)
	}
	j.goesOn(3)
	if lost := harness.Missing(before, j.pid, j.status, 2*time.Second); len(lost) > 0 {
		j.t.Errorf("changed by a dump:\n%s", strings.Join(lost, "\n"))
	}
}
