package image

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Classes of signers, as the signer claims; a policy decides what they are worth.
const (
	ClassSelf     = "self"     // the user who dumped, with a key of their own
	ClassOperator = "operator" // a person who answers for the image
	ClassHost     = "host"     // the machine's own key
)

// Header says who made an image, when, where and for whom. All of it is the
// signer's claim; lengths and counts are bounded (see check.go).
type Header struct {
	ID       [16]byte          `cbor:"1,keyasint"`  // random, names this image
	Signer   string            `cbor:"2,keyasint"`  // principal, "" when unsigned
	Class    string            `cbor:"3,keyasint"`  // one of the Class constants
	Created  int64             `cbor:"4,keyasint"`  // seconds since 1970
	NotAfter int64             `cbor:"5,keyasint"`  // seconds since 1970, 0: no end
	Audience string            `cbor:"6,keyasint"`  // host id, "": any
	Lineage  [16]byte          `cbor:"7,keyasint"`  // random, shared by successive images of a job
	Serial   uint64            `cbor:"8,keyasint"`  // place in the lineage
	Parent   [32]byte          `cbor:"9,keyasint"`  // digest of the parent's manifest, zero: none
	Ceiling  []string          `cbor:"10,keyasint"` // needs that a restore may have at most
	Caller   Caller            `cbor:"11,keyasint"`
	Host     string            `cbor:"12,keyasint"` // machine id
	Kernel   string            `cbor:"13,keyasint"` // uname -r
	Arch     string            `cbor:"14,keyasint"` // GOARCH
	CPU      []string          `cbor:"15,keyasint"` // feature flags that the tree may use
	Xstate   Xstate            `cbor:"16,keyasint"`
	Options  map[string]string `cbor:"17,keyasint"` // options of the dump that shape the restore
}

// Caller is who ran ckpt, as the kernel told ckpt, and how its namespace maps ids.
type Caller struct {
	UID    uint32    `cbor:"1,keyasint"`
	GID    uint32    `cbor:"2,keyasint"`
	Groups []uint32  `cbor:"3,keyasint"`
	UIDMap []IDRange `cbor:"4,keyasint"`
	GIDMap []IDRange `cbor:"5,keyasint"`
}

// IDRange is a line of /proc/PID/uid_map or gid_map (user_namespaces(7)).
type IDRange struct {
	Inside  uint32 `cbor:"1,keyasint"`
	Outside uint32 `cbor:"2,keyasint"`
	Count   uint32 `cbor:"3,keyasint"`
}

// Xstate is the extended CPU state of the dumping machine (CPUID leaf 0xD).
type Xstate struct {
	Size     uint32 `cbor:"1,keyasint"` // bytes
	Features uint64 `cbor:"2,keyasint"` // XCR0
}

// Totals are sums over all chunks.
type Totals struct {
	Raw    uint64 `cbor:"1,keyasint"` // bytes before compression
	Stored uint64 `cbor:"2,keyasint"` // bytes in the file
	Chunks uint64 `cbor:"3,keyasint"` // rows of the table
}

// Manifest is what a signature covers. A caller of Writer.Close fills Header,
// PIDs, Tree and Records; the Writer fills the rest.
type Manifest struct {
	Format   uint16   `cbor:"1,keyasint"` // FormatVersion
	Digest   uint8    `cbor:"2,keyasint"` // DigestSHA256
	Header   Header   `cbor:"3,keyasint"`
	PIDs     PIDs     `cbor:"4,keyasint"`
	Tree     []byte   `cbor:"5,keyasint"` // the engine's, see Marshal
	Records  Records  `cbor:"6,keyasint"`
	Blobs    []Blob   `cbor:"7,keyasint"`
	Segments Segments `cbor:"8,keyasint"`
	Totals   Totals   `cbor:"9,keyasint"`
}

// FormatVersion is the only value of Manifest.Format, and the version in the magic.
const FormatVersion = 1

// DigestSHA256 is the only value of Manifest.Digest.
const DigestSHA256 = 1

// ManifestDigest names a manifest, for instance as a child's Header.Parent.
func ManifestDigest(manifest []byte) [32]byte { return sha256.Sum256(manifest) }

// DecodeManifest decodes and checks a manifest by itself: canonical encoding,
// bounds, blobs that use each chunk once. Errors are ErrFormat, ErrVersion, ErrLimit.
// Reader.Decode also holds it against the file.
func DecodeManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("manifest of %d bytes: %w", len(b), ErrLimit)
	}
	var m Manifest
	if err := decode(b, &m, maxManifestArray); err != nil {
		return nil, fmt.Errorf("decoding the manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("checking the manifest: %w", err)
	}
	return &m, nil
}

// encode is the inverse of DecodeManifest.
func (m *Manifest) encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("checking the manifest: %w", err)
	}
	b, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest: %w", err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("manifest of %d bytes: %w", len(b), ErrLimit)
	}
	return b, nil
}

// PIDs are the process and thread ids of a tree, for the engine to reserve before
// anything else. On the wire: a byte string, 4 bytes each, little endian.
type PIDs []uint32

// MarshalCBOR encodes the table as one byte string.
func (p PIDs) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 0, len(p)*4)
	for _, pid := range p {
		b = binary.LittleEndian.AppendUint32(b, pid)
	}
	return encodeBytes(b), nil
}

// UnmarshalCBOR decodes what MarshalCBOR wrote.
func (p *PIDs) UnmarshalCBOR(data []byte) error {
	b, err := decodeBytes(data, 4)
	if err != nil {
		return fmt.Errorf("pids: %w", err)
	}
	*p = make(PIDs, len(b)/4)
	for i := range *p {
		(*p)[i] = binary.LittleEndian.Uint32(b[i*4:])
	}
	return nil
}

// Segment is what the manifest holds of SegmentRows rows of the table.
type Segment struct {
	End    uint64   // file offset behind the last chunk of its rows
	Digest [32]byte // SHA-256 of the rows
}

// Segments are in the order of the table; only the last may have fewer rows. On
// the wire: a byte string, 40 bytes each.
type Segments []Segment

const segmentEntry = 40

// MarshalCBOR encodes the entries as one byte string.
func (s Segments) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 0, len(s)*segmentEntry)
	for _, e := range s {
		b = binary.LittleEndian.AppendUint64(b, e.End)
		b = append(b, e.Digest[:]...)
	}
	return encodeBytes(b), nil
}

// UnmarshalCBOR decodes what MarshalCBOR wrote.
func (s *Segments) UnmarshalCBOR(data []byte) error {
	b, err := decodeBytes(data, segmentEntry)
	if err != nil {
		return fmt.Errorf("segments: %w", err)
	}
	*s = make(Segments, len(b)/segmentEntry)
	for i := range *s {
		p := b[i*segmentEntry:]
		(*s)[i].End = binary.LittleEndian.Uint64(p)
		copy((*s)[i].Digest[:], p[8:])
	}
	return nil
}
