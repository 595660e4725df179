package sign

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// Encrypted PKCS #8, as OpenSSL and ssh-keygen -m PKCS8 write it.
func TestEncryptedPKCS8(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run(t, "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-m", "PKCS8", "-f", path("plain"))
	for name, how := range map[string]string{
		"default": "-v2 aes-256-cbc", "sha1": "-v2 aes-128-cbc -v2prf hmacWithSHA1", "sha384": "-v2 aes-192-cbc -v2prf hmacWithSHA384",
		"sha512": "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000", "des": "-v2 des3", "scrypt": "-scrypt",
	} {
		args := append([]string{"openssl", "pkcs8", "-topk8", "-in", path("plain"), "-out", path(name), "-passout", "pass:secret"}, strings.Fields(how)...)
		run(t, args...)
	}
	for kind, bits := range map[string]string{"rsa": "2048", "ecdsa": "521"} {
		run(t, "ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "secret", "-m", "PKCS8", "-f", path(kind))
	}
	for _, name := range []string{"default", "sha1", "sha384", "sha512", "des", "scrypt", "rsa", "ecdsa"} {
		if text, err := os.ReadFile(path(name)); err != nil || !strings.Contains(string(text), encryptedPKCS8) {
			t.Fatalf("%s: %v: %.40s", name, err, text)
		}
		s, err := Open(path(name), Options{Class: sshsig.Self, Passphrase: password("wrong", "also wrong", "secret")})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pub := path(name) + ".pub"
		if name != "rsa" && name != "ecdsa" {
			pub = path("plain") + ".pub"
		}
		if listed := run(t, "ssh-keygen", "-lf", pub); !strings.Contains(listed, s.Fingerprint()) {
			t.Errorf("%s: it is %s, ssh-keygen says %s", name, s.Fingerprint(), listed)
		}
		if _, err := s.Sign(manifest()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Open(path(name), Options{Class: sshsig.Self, Passphrase: password("a", "b", "c")}); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s, wrong passphrases: %v", name, err)
		}
		if _, err := Open(path(name), Options{Class: sshsig.Self}); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s, nobody to ask: %v", name, err)
		}
	}
}

// A FIDO key's file holds no key; the message says how to sign with it.
func TestFIDOFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "id_ed25519_sk")
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{"sk-ssh-ed25519@openssh.com", make([]byte, 32), "ssh:"})
	pub := "sk-ssh-ed25519@openssh.com " + base64.StdEncoding.EncodeToString(blob) + "\n"
	if err := errors.Join(os.WriteFile(path, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600), os.WriteFile(path+".pub", []byte(pub), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{Class: sshsig.Self}); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "ssh-add") {
		t.Error(err)
	}
}
