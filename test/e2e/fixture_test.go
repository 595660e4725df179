package e2e

import (
	"strconv"
	"strings"
	"testing"
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
		if strings.HasPrefix(name, "unsupported") {
			continue // see refuse_test.go
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := fixture(t, name)
			j.restless = name == "syscalls" || name == "vforks" // children come and go
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
	before := j.facts()
	j.dumped("--sign", "-o", j.image(), strconv.Itoa(j.pid))
	j.goesOn(3)
	j.unchanged(before, "a dump")
}
