package verify

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// signature is one that is right, by whomever.
type signature struct {
	*sshsig.Signature
	class Class
}

// checkSignatures checks all of blobs over manifest. They must be in ascending
// order of their bytes, so that changing the order is a change that is refused,
// and each key may sign once in each class.
func checkSignatures(blobs [][]byte, manifest []byte) ([]signature, error) {
	if len(blobs) > MaxSignatures {
		return nil, fmt.Errorf("%w: %d, at most %d", ErrTooMany, len(blobs), MaxSignatures)
	}
	seen := map[string]bool{}
	var sigs []signature
	for n, blob := range blobs {
		if n > 0 && bytes.Compare(blobs[n-1], blob) >= 0 {
			return nil, fmt.Errorf("signature %d: %w", n+1, ErrOrder)
		}
		s, err := checkSignature(blob, manifest)
		if err != nil {
			return nil, fmt.Errorf("signature %d: %w", n+1, err)
		}
		name := s.class.String() + sshsig.Fingerprint(s.Key)
		if seen[name] {
			return nil, fmt.Errorf("signature %d: %w: second one by the same key", n+1, ErrOrder)
		}
		seen[name] = true
		sigs = append(sigs, s)
	}
	return sigs, nil
}

func checkSignature(blob, manifest []byte) (signature, error) {
	s, err := sshsig.Parse(blob)
	if err != nil {
		return signature{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	class, ok := sshsig.ClassOf(s.Namespace)
	if !ok {
		return signature{}, fmt.Errorf("%w: %.40q", ErrNamespace, s.Namespace)
	}
	if s.Verify(manifest, s.Namespace) != nil {
		return signature{}, fmt.Errorf("%w by %s", ErrSignature, sshsig.Fingerprint(s.Key))
	}
	return signature{s, class}, nil
}

// describe is what a verdict says of s.
func (s signature) describe() Signature {
	d := Signature{Class: s.class, Key: sshsig.Fingerprint(s.Key), Algorithm: s.Sig.Format}
	if cert, ok := s.Key.(*ssh.Certificate); ok {
		d.CA = sshsig.Fingerprint(cert.SignatureKey)
	}
	return d
}
