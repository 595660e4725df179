package e2e

import (
	"fmt"
	"os"
	"slices"
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
		if name == "file_linked" {
			continue // see TestOtherName
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "mem_huge" {
				hugePages(t, 24)
			}
			j := fixture(t, name)
			j.restless = restless(name)
			j.runsOn()
			for range fixtureCycles {
				j.cycle()
			}
			j.goesOn(5)
		})
	}
}

// restless are fixtures in which children and threads come and go.
func restless(name string) bool {
	return slices.Contains([]string{"syscalls", "vforks", "renumber", "cleartid", "sig_actions"}, name)
}

// TestOtherName: an open file whose name was removed comes back by another name that it has in the same directory. Its link in /proc says so.
func TestOtherName(t *testing.T) {
	t.Parallel()
	j := fixture(t, "file_linked")
	for range fixtureCycles {
		j.restore(j.dump())
	}
	j.goesOn(5)
}

// runsOn dumps without --kill: the tree goes on as it was.
func (j *job) runsOn() {
	j.t.Helper()
	before := j.facts()
	j.dumped("--sign", "-o", j.image(), strconv.Itoa(j.pid))
	j.goesOn(3)
	j.unchanged(before, "a dump")
}

// hugePages has the kernel keep n huge pages for the length of a test. A machine that has no room for them, or whose kernel has no such
// pages, can't run it.
func hugePages(t *testing.T, n int) {
	t.Helper()
	const setting = "/proc/sys/vm/nr_hugepages"
	was, err := os.ReadFile(setting)
	if err != nil {
		t.Skipf("no huge pages here: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(setting, was, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(setting, fmt.Appendln(nil, n), 0); err != nil {
		t.Fatal(err)
	}
	if got := parsed(t, strings.TrimSpace(slurp(t, setting)), strconv.Atoi); got < n {
		t.Skipf("the machine has room for %d of %d huge pages", got, n)
	}
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
