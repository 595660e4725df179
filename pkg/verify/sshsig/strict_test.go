package sshsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"testing"

	"golang.org/x/crypto/ssh"
)

func signerOf(t *testing.T, key crypto.Signer) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An inner signature has one encoding only, although verifiers of ECDSA and RSA
// would take others.
func TestInnerSignatureIsCanonical(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pad := func(b []byte) []byte { return append([]byte{0}, b...) }
	for name, c := range map[string]struct {
		by     ssh.Signer
		change func([]byte) []byte
	}{
		"ecdsa trailing": {signerOf(t, ec), func(b []byte) []byte { return append(b, 0) }},
		"ecdsa padded": {signerOf(t, ec), func(b []byte) []byte {
			var p struct{ R, S *big.Int }
			if err := ssh.Unmarshal(b, &p); err != nil {
				t.Fatal(err)
			}
			return ssh.Marshal(struct{ R, S []byte }{append([]byte{0, 0}, p.R.Bytes()...), append([]byte{0}, p.S.Bytes()...)})
		}},
		"ecdsa zero": {signerOf(t, ec), func([]byte) []byte { return ssh.Marshal(struct{ R, S *big.Int }{new(big.Int), new(big.Int)}) }},
		"ecdsa minus": {signerOf(t, ec), func([]byte) []byte {
			return ssh.Marshal(struct{ R, S *big.Int }{big.NewInt(-1), big.NewInt(1)})
		}},
		"rsa padded": {signerOf(t, rs), pad},
		"rsa cut":    {signerOf(t, rs), func(b []byte) []byte { return b[1:] }},
	} {
		s, err := Sign(nil, c.by, Self.Namespace(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Sig.Blob = c.change(s.Sig.Blob)
		if _, err := Parse(s.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// token signs as a FIDO key does (OpenSSH, PROTOCOL.u2f).
func token(t *testing.T, flags byte, message []byte) *Signature {
	t.Helper()
	const kind, application = "sk-ssh-ed25519@openssh.com", "ssh:"
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Kind        string
		Key         []byte
		Application string
	}{kind, pub, application}))
	if err != nil {
		t.Fatal(err)
	}
	app, digest := sha256.Sum256([]byte(application)), sha256.Sum256(signed(Self.Namespace(), "sha256", message))
	rest := binary.BigEndian.AppendUint32([]byte{flags}, 7)
	blob := ed25519.Sign(priv, append(append(app[:], rest...), digest[:]...))
	sig := &ssh.Signature{Format: kind, Blob: blob, Rest: rest}
	return &Signature{Key: key, Namespace: Self.Namespace(), Hash: "sha256", Sig: sig}
}

func TestTokenMustHaveBeenTouched(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	for flags, want := range map[byte]error{1: nil, 5: nil, 0: ErrWrong, 4: ErrWrong} {
		s, err := Parse(token(t, flags, message).Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(message, Self.Namespace()); !errors.Is(err, want) {
			t.Errorf("flags %#x: %v, want %v", flags, err, want)
		}
		if err := checkNoValidate(t, t.TempDir(), s, Self.Namespace(), message); err != nil {
			t.Errorf("flags %#x: ssh-keygen: %v", flags, err)
		}
	}
	s := token(t, 1, message)
	s.Sig.Rest = append(s.Sig.Rest, 0)
	if _, err := Parse(s.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("longer flags: %v", err)
	}
	s = token(t, 1, message)
	s.Sig.Rest[0] = 5
	if err := s.Verify(message, Self.Namespace()); !errors.Is(err, ErrWrong) {
		t.Errorf("flags changed: %v", err)
	}
}
