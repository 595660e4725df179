package verify

import (
	"bytes"
	"crypto/sha1" // a KRL may name keys by it; a collision revokes too much, never too little
	"crypto/sha256"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// krl is an OpenSSH key revocation list (PROTOCOL.krl).
type krl struct {
	keys   map[string]bool // wire format
	sha1   map[string]bool // of the wire format, as bytes
	sha256 map[string]bool
	certs  []krlCerts
}

// krlCerts is a certificates section: what it revokes of one authority.
type krlCerts struct {
	ca      []byte // wire format; empty for every authority
	serials map[uint64]bool
	ranges  []krlRange
	bitmaps []krlBitmap
	ids     map[string]bool
}

// krlRange revokes serials from Min to Max, both included.
type krlRange struct{ Min, Max uint64 }

// krlBitmap revokes serial Offset+n for each bit n that is set.
type krlBitmap struct {
	Offset uint64
	Bits   *big.Int
}

func isKRL(b []byte) bool { return bytes.HasPrefix(b, []byte(krlMagic)) }

// revokes asks about key without its certificate, and then about that.
func (k *krl) revokes(key ssh.PublicKey) error {
	wire := plain(key).Marshal()
	d1, d256 := sha1.Sum(wire), sha256.Sum256(wire)
	if k.keys[string(wire)] || k.sha1[string(d1[:])] || k.sha256[string(d256[:])] {
		return fmt.Errorf("key %s", ssh.FingerprintSHA256(plain(key)))
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		return k.revokesCert(cert)
	}
	return nil
}

func (k *krl) revokesCert(cert *ssh.Certificate) error {
	ca := cert.SignatureKey.Marshal()
	for _, c := range k.certs {
		if len(c.ca) != 0 && !bytes.Equal(c.ca, ca) {
			continue
		}
		if c.ids[cert.KeyId] {
			return fmt.Errorf("certificate id %.80q", cert.KeyId)
		}
		if c.hasSerial(cert.Serial) {
			return fmt.Errorf("certificate serial %d", cert.Serial)
		}
	}
	return nil
}

func (c *krlCerts) hasSerial(n uint64) bool {
	if c.serials[n] {
		return true
	}
	for _, r := range c.ranges {
		if r.Min <= n && n <= r.Max {
			return true
		}
	}
	for _, b := range c.bitmaps {
		if n >= b.Offset && n-b.Offset < uint64(b.Bits.BitLen()) && b.Bits.Bit(int(n-b.Offset)) == 1 {
			return true
		}
	}
	return false
}
