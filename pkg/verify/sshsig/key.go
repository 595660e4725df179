package sshsig

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// RSA moduli outside these sizes, in bits, are refused.
const (
	minRSA = 2048
	maxRSA = 16384
)

// Fingerprint is key's name as ssh-keygen -l prints it, SHA256:…; for a
// certificate that of the certified key.
func Fingerprint(key ssh.PublicKey) string { return ssh.FingerprintSHA256(plain(key)) }

// ParseKey decodes a public key or certificate in wire format. It refuses types
// and sizes that we do not accept, and encodings other than the canonical one.
// Errors wrap ErrMalformed or ErrUnsupported.
func ParseKey(wire []byte) (ssh.PublicKey, error) {
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %w", ErrMalformed, err)
	}
	if !bytes.Equal(key.Marshal(), wire) {
		return nil, fmt.Errorf("%w: public key: not the canonical encoding", ErrMalformed)
	}
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return key, nil
}

// CheckKey refuses key types and sizes that we do not accept. It looks inside
// certificates at the key and at the authority. Errors wrap ErrUnsupported.
func CheckKey(key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		if err := checkPlain(cert.SignatureKey); err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
		return checkPlain(cert.Key)
	}
	return checkPlain(key)
}

func checkPlain(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		if n := rsaBits(key); n < minRSA || n > maxRSA {
			return fmt.Errorf("%w: RSA key of %d bits", ErrUnsupported, n)
		}
		return nil
	}
	return fmt.Errorf("%w: key type %q", ErrUnsupported, key.Type())
}

func rsaBits(key ssh.PublicKey) int {
	if k, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			return r.N.BitLen()
		}
	}
	return 0
}

// plain is the key that signs: a certificate's inner one.
func plain(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// checkInner refuses an inner signature whose algorithm is not the key's, or that
// has another encoding than the canonical one. It does not verify it.
func checkInner(key ssh.PublicKey, sig *ssh.Signature) error {
	key = plain(key)
	if err := checkFormat(key.Type(), sig.Format); err != nil {
		return err
	}
	rest := 0
	switch key.Type() {
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		rest = 5 // PROTOCOL.u2f: a byte of flags and a 32-bit counter
	}
	if len(sig.Rest) != rest || !canonical(key, sig.Blob) {
		return fmt.Errorf("%w: inner signature: not the canonical encoding", ErrMalformed)
	}
	return nil
}

func checkFormat(keyType, format string) error {
	ok := format == keyType
	if keyType == ssh.KeyAlgoRSA {
		ok = format == ssh.KeyAlgoRSASHA512 || format == ssh.KeyAlgoRSASHA256
	}
	if !ok {
		return fmt.Errorf("%w: signature %q by a key of type %q", ErrUnsupported, format, keyType)
	}
	return nil
}

func canonical(key ssh.PublicKey, blob []byte) bool {
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		return len(blob) == (rsaBits(key)+7)/8
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519:
		return len(blob) == 64
	}
	var p struct{ R, S *big.Int }
	if ssh.Unmarshal(blob, &p) != nil || p.R.Sign() <= 0 || p.S.Sign() <= 0 {
		return false
	}
	return bytes.Equal(ssh.Marshal(p), blob)
}
