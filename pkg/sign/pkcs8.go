package sign

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // to read old keys; nothing is encrypted with it
	"crypto/pbkdf2"
	"crypto/sha1" // in PBKDF2, where its collisions don't matter
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"
	"golang.org/x/crypto/ssh"
)

// encryptedPKCS8 is the PEM type of an EncryptedPrivateKeyInfo (RFC 5958, 3), which
// OpenSSL writes, ssh-keygen reads and package ssh does not.
const encryptedPKCS8 = "ENCRYPTED PRIVATE KEY"

// Bounds of what a key file may have us compute.
const (
	maxIterations = 10_000_000
	maxScrypt     = 256 << 20 // bytes of memory: 128 N r
)

// The encryption of RFC 8018: PBES2 with a key derivation and a cipher.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2 struct{ Derivation, Cipher pkix.AlgorithmIdentifier }
	// pbkdf2Params are those of A.2; the salt's other choice was never used.
	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		Length     int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	// scryptParams are those of RFC 7914, 7.
	scryptParams struct {
		Salt    []byte
		N, R, P int
		Length  int `asn1:"optional"`
	}
)

// Object identifiers as text, which is easier to compare.
const (
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
	oidScrypt = "1.3.6.1.4.1.11591.4.11"
)

// prf are the hashes of HMACs.
func prf(oid string) func() hash.Hash {
	return map[string]func() hash.Hash{
		"":                    sha1.New, // the default
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}[oid]
}

// block is a cipher for CBC and the size of its key.
type block struct {
	size int
	make func([]byte) (cipher.Block, error)
}

func blockCipher(oid string) (block, bool) {
	b, ok := map[string]block{
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	}[oid]
	return b, ok
}

// isEncryptedPKCS8 says whether text needs decryptPKCS8.
func isEncryptedPKCS8(text []byte) bool {
	p, _ := pem.Decode(text)
	return p != nil && p.Type == encryptedPKCS8
}

// decryptPKCS8 is the signer in an encrypted PKCS #8 file. A wrong passphrase is
// x509.IncorrectPasswordError, as of package ssh.
func decryptPKCS8(text, passphrase []byte) (ssh.Signer, error) {
	p, _ := pem.Decode(text)
	plain, err := openPKCS8(p.Bytes, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, x509.IncorrectPasswordError // one in 256 wrong ones leaves a padding
	}
	return ssh.NewSignerFromKey(key)
}

func openPKCS8(der, passphrase []byte) ([]byte, error) {
	var outer encryptedKey
	var scheme pbes2
	if err := unmarshalAll(der, &outer); err != nil {
		return nil, err
	}
	if oid := outer.Algorithm.Algorithm.String(); oid != oidPBES2 {
		return nil, fmt.Errorf("encrypted in a way that nobody should use any more (%s)", oid)
	}
	if err := unmarshalAll(outer.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, err
	}
	c, ok := blockCipher(scheme.Cipher.Algorithm.String())
	if !ok {
		return nil, fmt.Errorf("encrypted with an unknown cipher (%s)", scheme.Cipher.Algorithm)
	}
	var iv []byte
	if err := unmarshalAll(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	key, err := derive(scheme.Derivation, passphrase, c.size)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	b, err := c.make(key)
	if err != nil {
		return nil, err
	}
	return unpad(b, iv, outer.Data)
}

// unpad decrypts CBC and takes the padding off (RFC 8018, 6.1.1).
func unpad(b cipher.Block, iv, data []byte) ([]byte, error) {
	n := b.BlockSize()
	if len(iv) != n || len(data) == 0 || len(data)%n != 0 {
		return nil, errors.New("malformed encryption")
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(data, data)
	pad := int(data[len(data)-1])
	if pad < 1 || pad > n {
		return nil, x509.IncorrectPasswordError
	}
	for _, p := range data[len(data)-pad:] {
		if int(p) != pad {
			return nil, x509.IncorrectPasswordError
		}
	}
	return data[:len(data)-pad], nil
}

// derive makes the cipher's key of the passphrase.
func derive(how pkix.AlgorithmIdentifier, passphrase []byte, size int) ([]byte, error) {
	switch oid := how.Algorithm.String(); oid {
	case oidPBKDF2:
		var p pbkdf2Params
		if err := unmarshalAll(how.Parameters.FullBytes, &p); err != nil {
			return nil, err
		}
		oid := ""
		if p.PRF.Algorithm != nil {
			oid = p.PRF.Algorithm.String()
		}
		h := prf(oid)
		if h == nil || p.Iterations < 1 || p.Iterations > maxIterations || p.Length != 0 && p.Length != size {
			return nil, errors.New("a key derivation that is not supported")
		}
		return pbkdf2.Key(h, string(passphrase), p.Salt, p.Iterations, size)
	case oidScrypt:
		var p scryptParams
		if err := unmarshalAll(how.Parameters.FullBytes, &p); err != nil {
			return nil, err
		}
		if p.N < 2 || p.R < 1 || p.P < 1 || p.P > 64 || p.N > maxScrypt/128/p.R || p.Length != 0 && p.Length != size {
			return nil, errors.New("a key derivation that is not supported")
		}
		return scrypt.Key(passphrase, p.Salt, p.N, p.R, p.P, size)
	default:
		return nil, fmt.Errorf("an unknown key derivation (%s)", oid)
	}
}

// unmarshalAll decodes DER with nothing behind it.
func unmarshalAll(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing data")
	}
	if err != nil {
		return fmt.Errorf("malformed encryption: %w", err)
	}
	return nil
}
