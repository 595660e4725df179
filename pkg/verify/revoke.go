package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// revocations is what a revocation file says.
type revocations interface {
	// revokes says why the key or certificate may not be used any more, or nil.
	// It is asked about a certificate and about its authority separately.
	revokes(key ssh.PublicKey) error
}

// checkRevoked refuses the image if any list revokes anything that signed it, or
// that certified who did.
func (c *Checked) checkRevoked() error {
	for _, file := range c.o.Revoked {
		list, err := file.read(c.o.Caller)
		if err != nil {
			return fmt.Errorf("%q: %w: %w", file.Path, ErrTrustFile, err)
		}
		for n, s := range c.sigs {
			if err := revoked(list, s.Key); err != nil {
				return fmt.Errorf("signature %d: %w by %q: %w", n+1, ErrRevoked, file.Path, err)
			}
		}
	}
	return nil
}

func revoked(list revocations, key ssh.PublicKey) error {
	err := list.revokes(key)
	if cert, ok := key.(*ssh.Certificate); ok && err == nil {
		err = list.revokes(cert.SignatureKey)
	}
	return err
}

func (f RevocationFile) read(caller uint32) (revocations, error) {
	if err := TrustFile(f).safe(caller); err != nil {
		return nil, err
	}
	if isKRL(f.Bytes) {
		return parseKRL(f.Bytes)
	}
	return parseRevokedKeys(f.Bytes)
}

// revokedKeys is a text list, as fingerprints.
type revokedKeys map[string]bool

const maxRevoked = 64 << 20 // bytes of a revocation file

// parseRevokedKeys reads public keys, as in a .pub file, and SHA256: fingerprints,
// one a line; # starts a comment line. Anything else is an error: a line that we
// do not understand may be the one that matters.
func parseRevokedKeys(text []byte) (revokedKeys, error) {
	if len(text) > maxRevoked {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), maxRevoked)
	}
	list, n := revokedKeys{}, 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		name, err := revokedLine(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list[name] = true
	}
	return list, nil
}

func revokedLine(words []string) (string, error) {
	if digest, ok := strings.CutPrefix(words[0], "SHA256:"); ok {
		raw, err := base64.RawStdEncoding.Strict().DecodeString(digest)
		if err != nil || len(raw) != 32 {
			return "", errors.New("not a SHA256: fingerprint")
		}
		return words[0], nil
	}
	if len(words) < 2 {
		return "", errors.New("neither a public key nor a SHA256: fingerprint")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(words[1])
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	return ssh.FingerprintSHA256(plain(key)), nil
}

func (l revokedKeys) revokes(key ssh.PublicKey) error {
	if name := ssh.FingerprintSHA256(plain(key)); l[name] {
		return fmt.Errorf("key %s", name)
	}
	return nil
}

func plain(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}
