package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/test/harness"
)

// digested are the files of an image, by whether it says what they held.
func digested(t *testing.T, path string) (with, without []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range (&original{data: data}).decode(t).Records {
		body, err := kinds.All().Named(r.Kind).Decode(r.Version, r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := body.(kind.Digested); ok {
			name := body.(kind.Titled).Title()
			if d.Digest() != nil {
				with = append(with, name)
			} else {
				without = append(without, name)
			}
		}
	}
	return with, without
}

// TestDigests: what files hold is in an image only if something may be granted by it, and only of those that not everybody could open so. Of all
// others nothing is read.
func TestDigests(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	dump := func(how ...string) (with, without []string) {
		t.Helper()
		j := o.begin(harness.Alice, "file_regular")
		image := j.image()
		argv := append([]string{o.install("ckpt", "ckpt", 0o755), "--kill", "-o", image}, how...)
		if res := o.run(harness.Superuser, append(argv, strconv.Itoa(j.pid))...); !res.OK() {
			t.Fatal(res)
		}
		return digested(t, image)
	}
	for _, how := range [][]string{{}, {"--for=here.test"}, {"--sign=" + o.key}, {"--sign=" + o.key, "--class=self", "--for=here.test"}} {
		if with, without := dump(how...); len(with) > 0 || len(without) < 4 {
			t.Errorf("%q: it says what %q held, and not what %q did", how, with, without)
		}
	}
	with, without := dump("--sign="+o.key, "--for=here.test")
	is := map[string]bool{}
	for _, name := range with {
		is[strings.Trim(filepath.Base(name), `"`)] = true
	}
	for _, name := range without {
		is[strings.Trim(filepath.Base(name), `"`)] = false
	}
	for name, want := range map[string]bool{"rw": true, "append": true, "wo": true, "log": true, "passwd": false, "file_regular": false} {
		if got, there := is[name]; got != want || !there {
			t.Errorf("%s: %v, %v", name, got, there)
		}
	}
}

// TestManyToCompare: a tree does not stand still for as long as it takes to read all that it has open.
func TestManyToCompare(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	open := ""
	for n := range 6 {
		name := filepath.Join(j.dir, fmt.Sprint("large", n))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 60<<20); err != nil {
			t.Fatal(err)
		}
		open += fmt.Sprintf("exec %d<%s; ", 3+n, name)
	}
	j.start(o.As(harness.Superuser, "/bin/sh", "-c", open+`exec "$@"`, "sh", path, j.status, j.dir), nil, nil)
	with, without := digested(t, o.signed(j, o.key))
	large := func(names []string) (n int) {
		for _, name := range names {
			if strings.Contains(name, "/large") {
				n++
			}
		}
		return n
	}
	if large(with) != 4 || large(without) != 2 {
		t.Errorf("it says what %q held, and not what %q did", with, without)
	}
}

// TestTooLargeToCompare: a program that lends its rights and is too large to be compared in time is not paused.
func TestTooLargeToCompare(t *testing.T) {
	t.Parallel()
	o, tool, _ := newSpool(t)
	j := o.setuid("counter")
	large, program := filepath.Join(o.Dir, "large"), filepath.Join(o.Bin, "suid-counter")
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 65<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(large, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(large, program); err != nil {
		t.Fatal(err)
	}
	j.end()
	j = o.beginAs(harness.Alice, program)
	refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Unsupported, program, "a program of 68157440 bytes")
	j.goesOn(2)
}
