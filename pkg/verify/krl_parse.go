package verify

import (
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

const (
	krlMagic  = "SSHKRL\n\x00"
	krlFormat = 1
)

// Sections of a KRL, and of its certificates section.
const (
	krlCertificates = 1
	krlKeys         = 2
	krlSHA1         = 3
	krlSHA256       = 5

	krlSerials = 0x20
	krlRanges  = 0x21
	krlBitmaps = 0x22
	krlIDs     = 0x23
)

var errKRL = errors.New("malformed KRL")

// krlSection is a type and a length-prefixed content, at either level.
type krlSection struct {
	Type    byte
	Content []byte
	Rest    []byte `ssh:"rest"`
}

// parseKRL decodes a KRL. It refuses what it does not know, signatures and
// extensions among it: to leave out a section would be to leave out revocations.
func parseKRL(b []byte) (*krl, error) {
	if len(b) > maxRevoked {
		return nil, fmt.Errorf("KRL of %d bytes, more than %d", len(b), maxRevoked)
	}
	var head struct {
		Magic                [8]byte
		Format               uint32
		Version, Date, Flags uint64
		Reserved, Comment    []byte
		Rest                 []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errKRL, err)
	}
	if string(head.Magic[:]) != krlMagic || head.Format != krlFormat || len(head.Reserved) != 0 {
		return nil, fmt.Errorf("%w: format %d", errKRL, head.Format)
	}
	k := &krl{keys: map[string]bool{}, sha1: map[string]bool{}, sha256: map[string]bool{}}
	return k, eachSection(head.Rest, k.section)
}

// eachSection calls fn for each section in b.
func eachSection(b []byte, fn func(kind byte, content []byte) error) error {
	for len(b) > 0 {
		var s krlSection
		if err := ssh.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%w: %w", errKRL, err)
		}
		if err := fn(s.Type, s.Content); err != nil {
			return err
		}
		b = s.Rest
	}
	return nil
}

func (k *krl) section(kind byte, b []byte) error {
	switch kind {
	case krlCertificates:
		return k.certSection(b)
	case krlKeys:
		return eachString(b, 0, k.keys)
	case krlSHA1:
		return eachString(b, 20, k.sha1)
	case krlSHA256:
		return eachString(b, 32, k.sha256)
	}
	return fmt.Errorf("%w: section of type %d is not supported", errKRL, kind)
}

// eachString adds each length-prefixed string in b to set; size 0 is any but none.
func eachString(b []byte, size int, set map[string]bool) error {
	for len(b) > 0 {
		var s struct {
			Value []byte
			Rest  []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%w: %w", errKRL, err)
		}
		if len(s.Value) == 0 || size != 0 && len(s.Value) != size {
			return fmt.Errorf("%w: entry of %d bytes", errKRL, len(s.Value))
		}
		set[string(s.Value)] = true
		b = s.Rest
	}
	return nil
}

func (k *krl) certSection(b []byte) error {
	var s struct {
		CA, Reserved []byte
		Rest         []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", errKRL, err)
	}
	if len(s.Reserved) != 0 {
		return fmt.Errorf("%w: reserved field in use", errKRL)
	}
	c := krlCerts{ca: s.CA, serials: map[uint64]bool{}, ids: map[string]bool{}}
	err := eachSection(s.Rest, c.section)
	k.certs = append(k.certs, c)
	return err
}

func (c *krlCerts) section(kind byte, b []byte) error {
	switch kind {
	case krlSerials:
		return c.addSerials(b)
	case krlRanges:
		var r krlRange
		if err := ssh.Unmarshal(b, &r); err != nil || r.Min > r.Max {
			return fmt.Errorf("%w: serial range", errKRL)
		}
		c.ranges = append(c.ranges, r)
		return nil
	case krlBitmaps:
		m := krlBitmap{Bits: new(big.Int)}
		if err := ssh.Unmarshal(b, &m); err != nil || m.Bits.Sign() < 0 {
			return fmt.Errorf("%w: serial bitmap", errKRL)
		}
		c.bitmaps = append(c.bitmaps, m)
		return nil
	case krlIDs:
		return eachString(b, 0, c.ids)
	}
	return fmt.Errorf("%w: certificate section of type %#x is not supported", errKRL, kind)
}

func (c *krlCerts) addSerials(b []byte) error {
	for len(b) > 0 {
		var s struct {
			Serial uint64
			Rest   []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%w: %w", errKRL, err)
		}
		c.serials[s.Serial] = true
		b = s.Rest
	}
	return nil
}
