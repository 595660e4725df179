package verify

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/pkg/image"
)

// Vectors are committed; -update writes them again from vectorTable.
var update = flag.Bool("update", false, "write testdata/vectors/verify")

const vectorDir = "../../testdata/vectors/verify"

// classes is the closed set of what a vector can expect: success is a trusted
// image, the others are refused for this reason alone.
var classes = map[string]error{
	"success": nil, "signature": ErrSignature, "namespace": ErrNamespace, "too-many": ErrTooMany, "order": ErrOrder,
	"unsigned": ErrUnsigned, "stripped": ErrStripped, "unknown-signer": ErrUnknownSigner, "principal": ErrPrincipal,
	"class": ErrClass, "key-time": ErrKeyTime, "certificate": ErrCertificate, "revoked": ErrRevoked,
	"trust-file": ErrTrustFile, "expired": ErrExpired, "future": ErrFuture, "audience": ErrAudience,
	"expect": ErrExpect, "parent": ErrParent, "no-grant": ErrNoGrant, "attest": ErrAttest,
	"digest": image.ErrDigest, "format": image.ErrFormat, "truncated": image.ErrTruncated,
}

// vector is a file of the vector directory: "key: value" lines, an empty line, the
// image. Keys may repeat: each trust, own, revoked and machine is a line of that file.
type vector struct {
	header map[string][]string
	data   []byte
}

func (v vector) text(key string) string { return strings.Join(v.header[key], "\n") }

func readVector(t *testing.T, name string) vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Fatal(err)
	}
	head, data, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		t.Fatalf("%s: no empty line", name)
	}
	v := vector{map[string][]string{}, data}
	for line := range strings.Lines(string(head)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("%s: %q is no header", name, line)
		}
		v.header[key] = append(v.header[key], value)
	}
	return v
}

// options are what a vector is judged by: a trusted signature is required.
func (v vector) options(t *testing.T) Options {
	t.Helper()
	at, err := time.Parse(time.RFC3339, v.text("now"))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{RequireTrusted: true, Caller: callerUID, Now: at, Audience: []string{"this-host"}}
	o.Trust = []TrustFile{system(v.text("trust")), own(v.text("own"))}
	if list := v.text("machine"); list != "" {
		o.Attest = []TrustFile{extra(list)}
	}
	if list := v.text("revoked"); list != "" {
		o.Revoked = []RevocationFile{revoke(list)}
	}
	return o
}

// outcome opens the image, reads all of it, holds it against the parent that the
// vector names and, where the vector is about grants, asks for one.
func (v vector) outcome(t *testing.T) error {
	t.Helper()
	o := v.options(t)
	i, err := open(v.data, o)
	if err != nil {
		return err
	}
	for _, b := range i.Manifest().Blobs {
		if _, err := i.ReadBlob(b, 1<<24); err != nil {
			return err
		}
	}
	if parent := v.text("parent"); parent != "" {
		p, err := open(readVector(t, parent).data, o)
		if err != nil {
			t.Fatal(err)
		}
		return i.CheckParent(p)
	}
	if !i.Verdict().Grants {
		return errors.Join(i.Verdict().Reasons...)
	}
	return nil
}

func vectorNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(vectorDir + "/*")
	if err != nil || len(paths) == 0 {
		t.Fatal("no vectors", err)
	}
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	return paths
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	for _, name := range vectorNames(t) {
		v := readVector(t, name)
		want, known := classes[v.text("expect")]
		if !known || v.text("comment") == "" {
			t.Errorf("%s: headers %q", name, v.header)
			continue
		}
		err := v.outcome(t)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if n := countClasses(err); err != nil && n != 1 {
			t.Errorf("%s: %v is of %d classes", name, err, n)
		}
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

// Each rule of SPEC.md has a vector, and each vector a rule.
func TestEveryRuleHasAVector(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules, tested []string
	for _, m := range regexp.MustCompile(`\*\*\[([a-z]+)\]\*\*`).FindAllSubmatch(spec, -1) {
		rules = append(rules, string(m[1]))
	}
	for _, name := range vectorNames(t) {
		rule, _, _ := strings.Cut(name, "-")
		tested = append(tested, rule)
	}
	for _, r := range rules {
		if !slices.Contains(tested, r) {
			t.Errorf("rule %s has no vector", r)
		}
	}
	for _, r := range tested {
		if !slices.Contains(rules, r) && r != "good" && r != "splice" {
			t.Errorf("vector of %s, which is no rule of SPEC.md", r)
		}
	}
}

func writeVectors(t *testing.T) {
	if err := os.MkdirAll(vectorDir, 0o755); err != nil {
		t.Fatal(err)
	}
	old, _ := filepath.Glob(vectorDir + "/*")
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range vectorTable(t) {
		head := fmt.Sprintf("expect: %s\ncomment: %s\nnow: %s\n", v.expect, v.comment, now().Format(time.RFC3339))
		for _, key := range []string{"trust", "own", "revoked", "machine", "parent"} {
			for line := range strings.Lines(v.facts[key]) {
				head += fmt.Sprintf("%s: %s\n", key, strings.TrimSuffix(line, "\n"))
			}
		}
		if err := os.WriteFile(filepath.Join(vectorDir, v.name), append([]byte(head+"\n"), v.image...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
