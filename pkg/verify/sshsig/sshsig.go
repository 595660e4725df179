package sshsig

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/ssh"
)

// MaxSize is the longest blob that is looked at, in bytes: a certificate for a
// large RSA key with a few hundred principals fits.
const MaxSize = 64 << 10

var (
	// ErrMalformed: the bytes are no SSHSIG, or not the one encoding of it.
	ErrMalformed = errors.New("malformed SSHSIG")
	// ErrUnsupported: a key type, size or hash that is too weak or unknown.
	ErrUnsupported = errors.New("unsupported key or algorithm")
	// ErrNamespace: the signature was made for another purpose.
	ErrNamespace = errors.New("signature for another namespace")
	// ErrWrong: the signature does not match the message.
	ErrWrong = errors.New("wrong signature")
)

// Signature is one decoded SSHSIG.
type Signature struct {
	// Key made the signature; with a certificate it is an *ssh.Certificate.
	Key ssh.PublicKey
	// Namespace is the purpose that was signed with the message, never empty.
	Namespace string
	// Hash is "sha256" or "sha512".
	Hash string
	// Sig is the inner signature; Sig.Format is its algorithm.
	Sig *ssh.Signature
}

// envelope is the blob as PROTOCOL.sshsig lays it out.
type envelope struct {
	Magic     [6]byte
	Version   uint32
	Key       []byte
	Namespace string
	Reserved  []byte
	Hash      string
	Sig       []byte
}

// payload is what the key really signs: the purpose and the message's hash.
type payload struct {
	Magic     [6]byte
	Namespace string
	Reserved  []byte
	Hash      string
	Digest    []byte
}

const version = 1

func magic() [6]byte { return [6]byte{'S', 'S', 'H', 'S', 'I', 'G'} }

// newHash makes one of the two hashes that PROTOCOL.sshsig allows, or nil.
func newHash(name string) hash.Hash {
	switch name {
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// Parse decodes blob. It refuses what Marshal would not give back byte for byte.
// Errors wrap ErrMalformed or ErrUnsupported.
func Parse(blob []byte) (*Signature, error) {
	if len(blob) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(blob), MaxSize)
	}
	var e envelope
	if err := ssh.Unmarshal(blob, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	s, err := e.decode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.Marshal(), blob) {
		return nil, fmt.Errorf("%w: not the canonical encoding", ErrMalformed)
	}
	return s, nil
}

func (e *envelope) check() error {
	switch {
	case e.Magic != magic():
		return fmt.Errorf("%w: wrong magic", ErrMalformed)
	case e.Version != version:
		return fmt.Errorf("%w: version %d", ErrUnsupported, e.Version)
	case e.Namespace == "":
		return fmt.Errorf("%w: empty namespace", ErrMalformed)
	case len(e.Reserved) != 0:
		return fmt.Errorf("%w: reserved field in use", ErrMalformed)
	case newHash(e.Hash) == nil:
		return fmt.Errorf("%w: hash %q", ErrUnsupported, e.Hash)
	}
	return nil
}

func (e *envelope) decode() (*Signature, error) {
	key, err := ParseKey(e.Key)
	if err != nil {
		return nil, err
	}
	sig := new(ssh.Signature)
	if err := ssh.Unmarshal(e.Sig, sig); err != nil {
		return nil, fmt.Errorf("%w: inner signature: %w", ErrMalformed, err)
	}
	if err := checkInner(key, sig); err != nil {
		return nil, err
	}
	return &Signature{Key: key, Namespace: e.Namespace, Hash: e.Hash, Sig: sig}, nil
}

// Marshal encodes s as a blob.
func (s *Signature) Marshal() []byte {
	return ssh.Marshal(envelope{
		Magic: magic(), Version: version,
		Key: s.Key.Marshal(), Namespace: s.Namespace, Hash: s.Hash,
		Sig: ssh.Marshal(s.Sig),
	})
}

// Verify checks s over message for namespace. It says nothing about who owns the
// key or whether its certificate is any good. Errors wrap ErrNamespace, ErrWrong.
func (s *Signature) Verify(message []byte, namespace string) error {
	if s.Namespace != namespace {
		return fmt.Errorf("%w: %q, want %q", ErrNamespace, s.Namespace, namespace)
	}
	if err := s.Key.Verify(signed(namespace, s.Hash, message), s.Sig); err != nil {
		return fmt.Errorf("%w by %s: %w", ErrWrong, Fingerprint(s.Key), err)
	}
	return nil
}

// Sign makes a signature of message by key for namespace, with SHA-256 as the
// hash of the message and, for RSA keys, SHA-512 as the hash of the signature.
// random may be nil, for crypto/rand. Errors wrap ErrUnsupported or are the key's.
func Sign(random io.Reader, key ssh.Signer, namespace string, message []byte) (*Signature, error) {
	const hash = "sha256"
	if namespace == "" {
		return nil, fmt.Errorf("sign: %w: empty namespace", ErrNamespace)
	}
	if _, err := ParseKey(key.PublicKey().Marshal()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	sig, err := signInner(random, key, signed(namespace, hash, message))
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", Fingerprint(key.PublicKey()), err)
	}
	s := &Signature{Key: key.PublicKey(), Namespace: namespace, Hash: hash, Sig: sig}
	// What an agent or a token returned is read the way a verifier will.
	if _, err := Parse(s.Marshal()); err != nil {
		return nil, fmt.Errorf("sign with %s: %w", Fingerprint(key.PublicKey()), err)
	}
	return s, s.Verify(message, namespace)
}

func signInner(random io.Reader, key ssh.Signer, data []byte) (*ssh.Signature, error) {
	if plain(key.PublicKey()).Type() != ssh.KeyAlgoRSA {
		return key.Sign(random, data)
	}
	k, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("%w: signer gives SHA-1 only", ErrUnsupported)
	}
	return k.SignWithAlgorithm(random, data, ssh.KeyAlgoRSASHA512)
}

func signed(namespace, hash string, message []byte) []byte {
	h := newHash(hash)
	h.Write(message)
	return ssh.Marshal(payload{Magic: magic(), Namespace: namespace, Hash: hash, Digest: h.Sum(nil)})
}
