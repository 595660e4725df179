package verify

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// This file holds KRLs as ssh-keygen -k makes them against ssh-keygen -Q.

type krlBench struct {
	dir   string
	files []string // public keys and certificates
	keys  map[string]ssh.PublicKey
}

func newKRLBench(t *testing.T) *krlBench {
	t.Helper()
	b := &krlBench{dir: t.TempDir(), keys: map[string]ssh.PublicKey{}}
	for _, ca := range []string{"ca", "ca2"} {
		b.run(t, "-q", "-N", "", "-t", "ed25519", "-f", b.path(ca))
	}
	for name, args := range map[string][]string{
		"plain": nil, "one": {"-z", "1"}, "five": {"-z", "5"}, "six": {"-z", "6"}, "big": {"-z", "18446744073709551615"},
		"sixty": {"-z", "60"}, "none": {"-z", "0"}, "other": {"-z", "5"},
	} {
		b.run(t, "-q", "-N", "", "-t", "ed25519", "-f", b.path(name))
		b.add(t, name+".pub")
		if args != nil {
			ca := "ca"
			if name == "other" {
				ca = "ca2"
			}
			b.run(t, append(append([]string{"-q", "-s", b.path(ca), "-I", "id " + name, "-n", "alice"}, args...), b.path(name+".pub"))...)
			b.add(t, name+"-cert.pub")
		}
	}
	return b
}

func (b *krlBench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *krlBench) run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
}

func (b *krlBench) add(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		t.Fatal(err)
	}
	b.files, b.keys[name] = append(b.files, name), key
}

// make has ssh-keygen make a KRL from a specification, and a list of public keys.
func (b *krlBench) make(t *testing.T, spec string, args ...string) []byte {
	t.Helper()
	if err := os.WriteFile(b.path("spec"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, append([]string{"-q", "-k", "-f", b.path("krl"), "-s", b.path("ca.pub"), "-z", "3"}, append(args, b.path("spec"))...)...)
	krl, err := os.ReadFile(b.path("krl"))
	if err != nil {
		t.Fatal(err)
	}
	return krl
}

func (b *krlBench) public(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func krlSpecs(t *testing.T, b *krlBench) map[string]string {
	fingerprint := func(name string) string { return ssh.FingerprintSHA256(b.keys[name]) }
	return map[string]string{
		"empty":    "",
		"serials":  "serial: 1\nserial: 6\n",
		"range":    "serial: 2-10\n",
		"bitmap":   "serial: 1\nserial: 3\nserial: 5\nserial: 7\nserial: 9\nserial: 60\nserial: 62\nserial: 64\n",
		"big":      "serial: 18446744073709551000-18446744073709551615\n",
		"big-one":  "serial: 18446744073709551615\n",
		"ids":      "id: id one\nid: id six\n",
		"key":      "key: " + b.public(t, "plain.pub"),
		"sha1":     "sha1: " + b.public(t, "plain.pub"),
		"sha256":   "sha256: " + b.public(t, "five.pub"),
		"hash":     "hash: " + fingerprint("six.pub") + "\n",
		"bare":     b.public(t, "one.pub"),
		"cert":     b.public(t, "five-cert.pub"),
		"ca":       "key: " + b.public(t, "ca.pub"),
		"everyone": "serial: 1-18446744073709551615\nid: id none\nkey: " + b.public(t, "plain.pub"),
	}
}

func TestKRLAgreesWithSSHKeygen(t *testing.T) {
	t.Parallel()
	b := newKRLBench(t)
	hits := 0
	for name, spec := range krlSpecs(t, b) {
		list, err := parseKRL(b.make(t, spec))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, file := range b.files {
			theirs := exec.Command("ssh-keygen", "-Q", "-f", b.path("krl"), b.path(file)).Run() != nil
			ours := revoked(list, b.keys[file])
			if theirs != (ours != nil) {
				t.Errorf("%s, %s: revoked by ssh-keygen: %v, by us: %v", name, file, theirs, ours)
			}
			if theirs {
				hits++
			}
		}
	}
	if hits < 30 {
		t.Errorf("only %d revoked: the table proves little", hits)
	}
}

func TestKRLRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := newKRLBench(t)
	good := b.make(t, "serial: 1\nserial: 4-8\nkey: "+b.public(t, "plain.pub"))
	for n := range good {
		// A KRL ends where its last section does, so a cut between two is invisible.
		if _, err := parseKRL(good[:n]); err == nil && !sectionEnds(good)[n] {
			t.Errorf("cut to %d of %d: accepted", n, len(good))
		}
	}
	section := func(kind byte, content string) []byte {
		return append(bytes.Clone(good), ssh.Marshal(krlSection{Type: kind, Content: []byte(content)})...)
	}
	for name, bad := range map[string][]byte{
		"signature": section(4, "x"), "extension": section(255, "x"), "type 9": section(9, ""),
		"short digest": section(krlSHA256, string(ssh.Marshal(struct{ S string }{"short"}))),
		"format 2":     append(append(bytes.Clone(good[:11]), 2), good[12:]...),
	} {
		if _, err := parseKRL(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// sectionEnds are the lengths at which a KRL may be cut.
func sectionEnds(krl []byte) map[int]bool {
	ends := map[int]bool{}
	head := 8 + 4 + 3*8 + 4 + 4
	ends[head] = true
	for i := head; i < len(krl); {
		n := int(krl[i+1])<<24 | int(krl[i+2])<<16 | int(krl[i+3])<<8 | int(krl[i+4])
		i += 5 + n
		ends[i] = true
	}
	return ends
}

func TestKRLInUse(t *testing.T) {
	t.Parallel()
	b := newKRLBench(t)
	alice := newPerson(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(alice.PublicKey())))
	o := options()
	o.Revoked = []RevocationFile{{Path: "krl", Source: System, Bytes: b.make(t, "key: "+line+"\n"), Mode: 0o644}}
	if _, err := open(build(t, header(), mark{alice, Self}), o); err == nil {
		t.Error("a key in a KRL is accepted")
	}
	if _, err := open(build(t, header(), mark{newPerson(t), Self}), o); err != nil {
		t.Error(err)
	}
}

func FuzzKRL(f *testing.F) {
	f.Add([]byte(krlMagic))
	f.Add(append([]byte(krlMagic), bytes.Repeat([]byte{0}, 60)...))
	key := newPerson(f)
	certified := key.certify(f, newPerson(f), nil).PublicKey()
	f.Fuzz(func(_ *testing.T, b []byte) {
		if list, err := parseKRL(b); err == nil {
			_ = revoked(list, certified)
		}
	})
}
