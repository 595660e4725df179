package image

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Vectors are committed; -update writes them again from vectorTable.
var update = flag.Bool("update", false, "write testdata/vectors/image")

const vectorDir = "../../testdata/vectors/image"

// classes is the closed set of what a vector can expect.
var classes = map[string]error{
	"success": nil, "format": ErrFormat, "version": ErrVersion, "truncated": ErrTruncated,
	"digest": ErrDigest, "limit": ErrLimit, "failed": ErrFailedDump,
}

// vector is a file of the vector directory.
type vector struct {
	header map[string]string
	data   []byte
}

func readVector(t testing.TB, path string) vector {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, data, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		t.Fatalf("%s: no empty line", path)
	}
	v := vector{map[string]string{}, data}
	for line := range strings.Lines(string(head)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("%s: %q is no header", path, line)
		}
		v.header[key] = value
	}
	return v
}

func vectorPaths(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(vectorDir + "/*")
	if err != nil || len(paths) == 0 {
		t.Fatal("no vectors", err)
	}
	return paths
}

// digests reads a whole image and returns what a vector of a good one states.
func digests(b []byte) (manifest, blobs string, err error) {
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return "", "", err
	}
	m, err := r.Decode()
	if err != nil {
		return "", "", err
	}
	all := sha256.New()
	for _, blob := range m.Blobs {
		p, err := r.ReadBlob(blob, 1<<24)
		if err != nil {
			return "", "", err
		}
		all.Write(p)
	}
	return fmt.Sprintf("%x", ManifestDigest(r.ManifestBytes())), fmt.Sprintf("%x", all.Sum(nil)), nil
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	for _, path := range vectorPaths(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			v := readVector(t, path)
			want, known := classes[v.header["expect"]]
			if !known || v.header["comment"] == "" {
				t.Fatalf("headers %q", v.header)
			}
			manifest, blobs, err := digests(v.data)
			if !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
			if n := countClasses(err); err != nil && n != 1 {
				t.Errorf("%v is of %d classes", err, n)
			}
			if err == nil && (manifest != v.header["manifest"] || blobs != v.header["blobs"]) {
				t.Errorf("manifest %s, blobs %s", manifest, blobs)
			}
		})
	}
}

func countClasses(err error) (n int) {
	for _, class := range classes {
		if class != nil && errors.Is(err, class) {
			n++
		}
	}
	return n
}

// TestEveryMust holds SPEC.md against the vectors: a rule's mark in brackets is the
// first word of its vectors' names.
func TestEveryMust(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules, tested []string
	for _, m := range regexp.MustCompile(`\*\*\[([a-z0-9]+)\]\*\*`).FindAllSubmatch(spec, -1) {
		rules = append(rules, string(m[1]))
	}
	for _, path := range vectorPaths(t) {
		rule, _, _ := strings.Cut(filepath.Base(path), "-")
		tested = append(tested, rule)
	}
	for _, r := range rules {
		if !slices.Contains(tested, r) {
			t.Errorf("rule %s has no vector", r)
		}
	}
	for _, r := range tested {
		if !slices.Contains(rules, r) {
			t.Errorf("vector of %s, which is no rule of SPEC.md", r)
		}
	}
}

func writeVectors(t *testing.T) {
	if err := os.MkdirAll(vectorDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range func() []string { p, _ := filepath.Glob(vectorDir + "/*"); return p }() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range vectorTable(t) {
		f := base()
		v.change(f)
		b := f.build(t)
		head := fmt.Sprintf("expect: %s\ncomment: %s\n", v.expect, v.comment)
		if v.expect == "success" {
			manifest, blobs, err := digests(b)
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			head += fmt.Sprintf("manifest: %s\nblobs: %s\n", manifest, blobs)
		}
		if err := os.WriteFile(filepath.Join(vectorDir, v.name), append([]byte(head+"\n"), b...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
