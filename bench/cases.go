package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// testcase is a target and what to compare it with.
type testcase struct {
	name   string
	argv   func() ([]string, error)
	extra  []string // after the status file and directory
	sort   string   // threads, processes or mappings,
	pieces int      // and how many, whose cost is to be told for each
	memory int64    // bytes of a large memory: the floor is then the pipeline, otherwise the start of a static Go binary
}

// cases are those that the project promises speeds for.
func (b *bench) cases() []testcase {
	cases := []testcase{
		{name: "static counter", argv: b.fixture("counter")},
		{name: "python3", argv: b.script("prog_python.py", "python3")},
		{name: "java, -Xmx256m", argv: b.java},
	}
	for _, sweep := range []struct {
		kind   string
		counts []int
	}{{"threads", []int{62, 200, 250, 1000}}, {"processes", []int{6, 25, 100}}, {"mappings", []int{312, 1250, 5000}}} {
		for _, n := range sweep.counts {
			cases = append(cases, testcase{name: fmt.Sprintf("%d %s", n, sweep.kind), argv: b.fixture("load"), extra: []string{sweep.kind, strconv.Itoa(n)},
				sort: sweep.kind, pieces: n})
		}
	}
	for _, gib := range []int64{1, 4} {
		cases = append(cases, testcase{name: fmt.Sprintf("%d GiB of memory", gib), argv: b.fixture("load"),
			extra: []string{"memory", strconv.FormatInt(gib<<10, 10)}, memory: gib << 30})
	}
	return cases
}

func (b *bench) fixture(name string) func() ([]string, error) {
	return func() ([]string, error) {
		path, err := b.C(name)
		return []string{path}, err
	}
}

func (b *bench) script(file, interpreter string) func() ([]string, error) {
	return func() ([]string, error) {
		// The interpreter's own path: what is in PATH may be a script that looks for it.
		res, err := b.run(lookPath(interpreter), "-c", "import sys; print(sys.executable)")
		return []string{strings.TrimSpace(res.Stdout), filepath.Join(b.Root, "testdata/fixtures", file)}, err
	}
}

func (b *bench) java() ([]string, error) {
	classes, err := b.Java()
	return []string{lookPath("java"), "-Xmx256m", "-XX:+PerfDisableSharedMem", "-cp", classes, "Work"}, err
}

// lookPath is the path of a program, or "".
func lookPath(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}
