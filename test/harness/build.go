package harness

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Root is the module's directory, found from the working directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no go.mod above the working directory")
}

// Builder makes the commands and the fixtures, each once, into a directory of its own.
type Builder struct {
	Root, Bin string

	reaper *Reaper
	mu     sync.Mutex
	made   map[string]*build
}

type build struct {
	once sync.Once
	err  error
}

// NewBuilder builds into bin.
func NewBuilder(reaper *Reaper, root, bin string) *Builder {
	return &Builder{Root: root, Bin: bin, reaper: reaper, made: map[string]*build{}}
}

func (b *Builder) once(name string, make func() error) error {
	b.mu.Lock()
	one := b.made[name]
	if one == nil {
		one = &build{}
		b.made[name] = one
	}
	b.mu.Unlock()
	one.once.Do(func() { one.err = make() })
	return one.err
}

// Commands builds ckpt and rstr as `make build` does.
func (b *Builder) Commands() error {
	return b.once("commands", func() error {
		return b.run("go", "build", "-trimpath", "-o", b.Bin+"/", "./cmd/ckpt", "./cmd/rstr")
	})
}

// Sources lists the C fixtures by name, but for those that attack others.
func (b *Builder) Sources() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(b.Root, "testdata/fixtures/*.c"))
	for i, path := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(path), ".c")
	}
	return slices.DeleteFunc(paths, func(name string) bool { return strings.HasPrefix(name, "attack_") }), err
}

// C builds the C fixture name with the flags that its first line gives and returns the program's path.
func (b *Builder) C(name string) (string, error) {
	out := filepath.Join(b.Bin, name)
	return out, b.once(name, func() error {
		src := filepath.Join(b.Root, "testdata/fixtures", name+".c")
		flags, err := buildFlags(src)
		if err != nil {
			return err
		}
		args := append([]string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-o", out, src}, flags...)
		return b.run("gcc", args...)
	})
}

// buildFlags reads the flags after "/* build:" in a source's first line; there may be none.
func buildFlags(src string) ([]string, error) {
	f, err := os.Open(src)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Scan()
	flags, ok := strings.CutPrefix(s.Text(), "/* build:")
	if !ok {
		return nil, s.Err()
	}
	return strings.Fields(strings.TrimSuffix(flags, "*/")), s.Err()
}

// Java compiles the class Work and returns its class path.
func (b *Builder) Java() (string, error) {
	return b.Bin, b.once("java", func() error {
		return b.run("javac", "-d", b.Bin, filepath.Join(b.Root, "testdata/fixtures/Work.java"))
	})
}

// Go builds the Go fixture and returns the program's path.
func (b *Builder) Go() (string, error) {
	out := filepath.Join(b.Bin, "goprog")
	return out, b.once("go", func() error {
		return b.run("go", "build", "-o", out, "./testdata/fixtures/goprog")
	})
}

func (b *Builder) run(name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	res, err := b.reaper.Run(Command{
		Argv:  append([]string{path}, args...),
		Dir:   b.Root,
		Env:   append(os.Environ(), "CGO_ENABLED=0"),
		Limit: 10 * time.Minute,
	})
	if err != nil {
		return err
	}
	if !res.OK() {
		return fmt.Errorf("building: %v", res)
	}
	return nil
}
