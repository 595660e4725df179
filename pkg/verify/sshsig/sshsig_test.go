package sshsig

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// keyTypes are ssh-keygen's arguments for every type that a file can hold.
func keyTypes() map[string][]string {
	return map[string][]string{
		"ed25519":  {"-t", "ed25519"},
		"ecdsa256": {"-t", "ecdsa", "-b", "256"},
		"ecdsa384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa521": {"-t", "ecdsa", "-b", "521"},
		"rsa2048":  {"-t", "rsa", "-b", "2048"},
		"rsa3072":  {"-t", "rsa", "-b", "3072"},
	}
}

func keygen(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
	return string(out)
}

// newKey is the path of a fresh private key, with its certificate beside it.
func newKey(t *testing.T, dir string, args []string) string {
	t.Helper()
	path := filepath.Join(dir, "key")
	keygen(t, append([]string{"-q", "-N", "", "-f", path}, args...)...)
	ca := filepath.Join(dir, "ca")
	keygen(t, "-q", "-N", "", "-t", "ed25519", "-f", ca)
	keygen(t, "-q", "-s", ca, "-I", "id", "-n", "alice", path+".pub")
	return path
}

func loadSigner(t *testing.T, path string) ssh.Signer {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loadCert(t *testing.T, path string, s ssh.Signer) ssh.Signer {
	t.Helper()
	text, err := os.ReadFile(path + "-cert.pub")
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := ssh.NewCertSigner(pub.(*ssh.Certificate), s)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func TestSSHKeygenVerifiesOurs(t *testing.T) {
	t.Parallel()
	message := []byte("the manifest\n")
	for name, args := range keyTypes() {
		dir := t.TempDir()
		path := newKey(t, dir, args)
		s := loadSigner(t, path)
		for suffix, s := range map[string]ssh.Signer{"": s, "-cert": loadCert(t, path, s)} {
			sig, err := Sign(nil, s, Operator.Namespace(), message)
			if err != nil {
				t.Fatalf("%s%s: %v", name, suffix, err)
			}
			if err := checkNoValidate(t, dir, sig, Operator.Namespace(), message); err != nil {
				t.Errorf("%s%s: %v", name, suffix, err)
			}
			if checkNoValidate(t, dir, sig, Host.Namespace(), message) == nil {
				t.Errorf("%s%s: ssh-keygen accepts another namespace", name, suffix)
			}
		}
	}
}

func checkNoValidate(t *testing.T, dir string, sig *Signature, ns string, message []byte) error {
	t.Helper()
	file := filepath.Join(dir, "sig")
	if err := os.WriteFile(file, Armor(sig.Marshal()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh-keygen", "-Y", "check-novalidate", "-n", ns, "-s", file)
	cmd.Stdin = bytes.NewReader(message)
	return cmd.Run()
}

func TestWeVerifySSHKeygens(t *testing.T) {
	t.Parallel()
	message := []byte("the manifest\n")
	for name, args := range keyTypes() {
		for _, hash := range []string{"sha256", "sha512"} {
			dir := t.TempDir()
			path := newKey(t, dir, args)
			file := filepath.Join(dir, "m")
			if err := os.WriteFile(file, message, 0o600); err != nil {
				t.Fatal(err)
			}
			keygen(t, "-q", "-Y", "sign", "-O", "hashalg="+hash, "-n", Self.Namespace(), "-f", path, file)
			armor, err := os.ReadFile(file + ".sig")
			if err != nil {
				t.Fatal(err)
			}
			blob, err := Dearmor(armor)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sig, err := Parse(blob)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := sig.Verify(message, Self.Namespace()); err != nil {
				t.Errorf("%s %s: %v", name, hash, err)
			}
			if err := sig.Verify(message[1:], Self.Namespace()); !errors.Is(err, ErrWrong) {
				t.Errorf("%s %s: other message: %v", name, hash, err)
			}
			if err := sig.Verify(message, "git"); !errors.Is(err, ErrNamespace) {
				t.Errorf("%s %s: other namespace: %v", name, hash, err)
			}
			if want := keygen(t, "-lf", path+".pub"); !strings.Contains(want, Fingerprint(sig.Key)) {
				t.Errorf("%s: fingerprint %s not in %s", name, Fingerprint(sig.Key), want)
			}
		}
	}
}

func testSignature(t testing.TB) ([]byte, []byte) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(priv)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	sig, err := Sign(nil, s, Self.Namespace(), message)
	if err != nil {
		t.Fatal(err)
	}
	return sig.Marshal(), message
}

func TestEveryBitFlipIsRefused(t *testing.T) {
	t.Parallel()
	blob, message := testSignature(t)
	for i := range len(blob) * 8 {
		bad := bytes.Clone(blob)
		bad[i/8] ^= 1 << (i % 8)
		sig, err := Parse(bad)
		if err == nil {
			err = sig.Verify(message, Self.Namespace())
		}
		if err == nil {
			t.Errorf("bit %d flipped: accepted", i)
		}
	}
}

func TestTruncationAndTrailingBytes(t *testing.T) {
	t.Parallel()
	blob, _ := testSignature(t)
	for n := range blob {
		if _, err := Parse(blob[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := Parse(append(bytes.Clone(blob), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
	if _, err := Parse(make([]byte, MaxSize+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("oversized: %v", err)
	}
}

func TestStrictEnvelope(t *testing.T) {
	t.Parallel()
	blob, _ := testSignature(t)
	for name, change := range map[string]func(*envelope){
		"version":   func(e *envelope) { e.Version = 2 },
		"namespace": func(e *envelope) { e.Namespace = "" },
		"reserved":  func(e *envelope) { e.Reserved = []byte{1} },
		"md5":       func(e *envelope) { e.Hash = "md5" },
		"sha1":      func(e *envelope) { e.Hash = "sha1" },
		"inner":     func(e *envelope) { e.Sig = append(e.Sig, 0) },
		"key":       func(e *envelope) { e.Key = append(e.Key, 0) },
	} {
		var e envelope
		if err := ssh.Unmarshal(blob, &e); err != nil {
			t.Fatal(err)
		}
		change(&e)
		if _, err := Parse(ssh.Marshal(e)); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWeakKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	keygen(t, "-q", "-N", "", "-t", "rsa", "-b", "1024", "-f", path)
	if _, err := Sign(nil, loadSigner(t, path), Self.Namespace(), nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("RSA-1024: %v", err)
	}
	rsa := filepath.Join(dir, "rsa")
	keygen(t, "-q", "-N", "", "-t", "rsa", "-b", "2048", "-f", rsa)
	s := loadSigner(t, rsa)
	sha1, err := s.Sign(rand.Reader, signed(Self.Namespace(), "sha256", nil))
	if err != nil {
		t.Fatal(err)
	}
	blob := (&Signature{Key: s.PublicKey(), Namespace: Self.Namespace(), Hash: "sha256", Sig: sha1}).Marshal()
	if _, err := Parse(blob); !errors.Is(err, ErrUnsupported) {
		t.Errorf("RSA with SHA-1: %v", err)
	}
}

func TestArmor(t *testing.T) {
	t.Parallel()
	blob, _ := testSignature(t)
	text := string(Armor(blob))
	if got, err := Dearmor([]byte(text)); err != nil || !bytes.Equal(got, blob) {
		t.Fatalf("Dearmor: %v", err)
	}
	for name, bad := range map[string]string{
		"before":   "x\n" + text,
		"space":    " " + text,
		"behind":   text + "\n",
		"junk":     text + "junk",
		"cr":       strings.ReplaceAll(text, "\n", "\r\n"),
		"one line": armorBegin + strings.ReplaceAll(text[len(armorBegin):len(text)-len(armorEnd)], "\n", "") + "\n" + armorEnd,
		"header":   strings.Replace(text, "-----\n", "-----\nVersion: 1\n\n", 1),
		"twice":    text + text,
		"no end":   strings.TrimSuffix(text, armorEnd),
		"empty":    "",
	} {
		if _, err := Dearmor([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	for _, c := range Classes() {
		if got, ok := ClassOf(c.Namespace()); !ok || got != c {
			t.Errorf("ClassOf(%q) = %v, %v", c.Namespace(), got, ok)
		}
		if got, ok := ClassNamed(c.String()); !ok || got != c {
			t.Errorf("ClassNamed(%q) = %v, %v", c, got, ok)
		}
	}
	for _, ns := range []string{"", "git", "file", "ckpt-image-self@v2"} {
		if c, ok := ClassOf(ns); ok {
			t.Errorf("ClassOf(%q) = %v", ns, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	blob, _ := testSignature(f)
	f.Add(blob)
	f.Fuzz(func(t *testing.T, blob []byte) {
		s, err := Parse(blob)
		if err == nil && !bytes.Equal(s.Marshal(), blob) {
			t.Error("accepted what Marshal does not give back")
		}
	})
}

func FuzzDearmor(f *testing.F) {
	blob, _ := testSignature(f)
	f.Add(Armor(blob))
	f.Fuzz(func(t *testing.T, text []byte) {
		blob, err := Dearmor(text)
		if err == nil && !bytes.Equal(Armor(blob), text) {
			t.Error("accepted what Armor does not give back")
		}
	})
}
