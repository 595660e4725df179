// Bench measures the built commands on real targets and prints a table: medians of at least five runs, each beside its floor, measured
// in the same run on the same machine. Where a criu is in PATH, it takes its turn on the same targets.
//
//	go run ./bench [-runs N] [-only SUBSTRING] [-small]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ckptool/ckpt/test/harness"
)

func main() {
	work := run
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		work = func() error { return floorProcess(os.Args[2:]) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	runs := flag.Int("runs", 5, "runs a median is taken of, at least 5")
	only := flag.String("only", "", "run only cases whose name contains this")
	small := flag.Bool("small", false, "leave out the large memories")
	flag.Parse()
	if *runs < 5 {
		return fmt.Errorf("a median of %d runs says little: at least 5", *runs)
	}
	dir, err := os.MkdirTemp("", "ckpt-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBench(dir, *runs)
	if err != nil {
		return err
	}
	var rows []row
	for _, c := range b.cases() {
		if !strings.Contains(c.name, *only) || *small && c.memory > 0 {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", c.name)
		r, err := b.measure(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, r)
	}
	if len(rows) > 0 {
		print(os.Stdout, rows, b.criu != "")
	}
	if strings.Contains(routesName, *only) {
		fmt.Fprintf(os.Stderr, "bench: %s\n", routesName)
		if err := b.routes(os.Stdout); err != nil {
			return err
		}
	}
	if !strings.Contains(trustName, *only) {
		return nil
	}
	fmt.Fprintf(os.Stderr, "bench: %s\n", trustName)
	return b.trust(os.Stdout)
}

func newBench(dir string, runs int) (*bench, error) {
	root, err := harness.Root()
	if err != nil {
		return nil, err
	}
	reaper, err := harness.NewReaper()
	if err != nil {
		return nil, err
	}
	b := &bench{Builder: harness.NewBuilder(reaper, root, filepath.Join(dir, "bin")), reaper: reaper, dir: dir, runs: runs}
	b.env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
	if err := os.Mkdir(b.Bin, 0o755); err != nil {
		return nil, err
	}
	if err := b.Commands(); err != nil {
		return nil, err
	}
	b.criu = lookPath("criu")
	_, err = b.command("ckpt", "keygen")
	return b, err
}
