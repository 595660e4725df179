package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	magicSize  = 16
	footerSize = 64

	// Like PNG's: a byte that is no text, line ends that a text mode would change.
	// The last two bytes are the version, little endian.
	magicHead = "\x89ckptimg\r\n\x1a\n\x00\x00"
	endImage  = "\x89ckpt-end\r\n\x1a\n\x00\x00\x00"
	endFailed = "\x89ckptfail\r\n\x1a\n\x00\x00\x00"

	// MaxSignatures is how many signatures an image may carry, and maxSignature the
	// bytes of one: an SSHSIG with a certificate and an RSA key fits many times.
	MaxSignatures = 16
	maxSignature  = 64 << 10
	maxReason     = 4096
)

// magic is what every image starts with.
func magic() []byte {
	return binary.LittleEndian.AppendUint16([]byte(magicHead), FormatVersion)
}

// checkMagic refuses what is no image, and images of other versions.
func checkMagic(b []byte) error {
	if !bytes.HasPrefix(b, []byte(magicHead)) {
		return fmt.Errorf("no ckpt image: it starts with %.16q: %w", b, ErrFormat)
	}
	if v := binary.LittleEndian.Uint16(b[len(magicHead):]); v != FormatVersion {
		return fmt.Errorf("format version %d, this tool knows %d: %w", v, FormatVersion, ErrVersion)
	}
	return nil
}

// footer is the last 64 bytes. Everything in it but the kind is implied by the rest:
//
//	0 table u64 | 8 manifest u64 | 16 manifest length u32 | 20 signatures length u32 |
//	24 total length u64 | 32 zero[16] | 48 end magic[16]
//
// In a failed stream the reason stands in the manifest's place.
type footer struct {
	table    uint64 // file offset of the table, behind the last chunk
	manifest uint64 // file offset
	length   uint32 // of the manifest
	sigs     uint32 // length of the signatures
	total    uint64 // of the file
	failed   bool
}

func (f footer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, f.table)
	b = binary.LittleEndian.AppendUint64(b, f.manifest)
	b = binary.LittleEndian.AppendUint32(b, f.length)
	b = binary.LittleEndian.AppendUint32(b, f.sigs)
	b = binary.LittleEndian.AppendUint64(b, f.total)
	b = append(b, make([]byte, 16)...)
	if f.failed {
		return append(b, endFailed...)
	}
	return append(b, endImage...)
}

// parseFooter decodes the last 64 bytes of a file of size bytes.
func parseFooter(b []byte, size uint64) (footer, error) {
	f := footer{
		table:    binary.LittleEndian.Uint64(b),
		manifest: binary.LittleEndian.Uint64(b[8:]),
		length:   binary.LittleEndian.Uint32(b[16:]),
		sigs:     binary.LittleEndian.Uint32(b[20:]),
		total:    binary.LittleEndian.Uint64(b[24:]),
	}
	switch string(b[48:]) {
	case endImage:
	case endFailed:
		f.failed = true
	default:
		return footer{}, fmt.Errorf("no footer at its end: %w", ErrTruncated)
	}
	if !isZero(b[32:48]) {
		return footer{}, fmt.Errorf("reserved bytes of the footer in use: %w", ErrFormat)
	}
	return f, f.check(size)
}

// check refuses regions that do not tile the file. Sums cannot overflow behind the
// second test: a file has less than 1<<63 bytes.
func (f footer) check(size uint64) error {
	switch {
	case f.total != size:
		return fmt.Errorf("it says %d bytes, the file has %d: %w", f.total, size, ErrFormat)
	case f.manifest > size || f.table > f.manifest:
		return fmt.Errorf("table at %d, manifest at %d of %d bytes: %w", f.table, f.manifest, size, ErrFormat)
	case f.length > MaxManifest:
		return fmt.Errorf("manifest of %d bytes: %w", f.length, ErrLimit)
	case f.sigs > MaxSignatures*(maxSignature+4):
		return fmt.Errorf("signatures of %d bytes: %w", f.sigs, ErrLimit)
	case f.table < magicSize || (f.manifest-f.table)%rowSize != 0:
		return fmt.Errorf("table from %d to %d: %w", f.table, f.manifest, ErrFormat)
	case f.rows() > maxChunks:
		return fmt.Errorf("table of %d rows: %w", f.rows(), ErrLimit)
	case f.manifest+uint64(f.length)+uint64(f.sigs)+footerSize != size:
		return fmt.Errorf("its parts do not fill the file: %w", ErrFormat)
	case f.failed && (f.rows() != 0 || f.sigs != 0 || f.length > maxReason):
		return fmt.Errorf("not as a failed dump ends: %w", ErrFormat)
	}
	return nil
}

func (f footer) rows() uint64 { return (f.manifest - f.table) / rowSize }

// appendSignatures appends each signature behind its length.
func appendSignatures(b []byte, sigs [][]byte) ([]byte, error) {
	if len(sigs) > MaxSignatures {
		return nil, fmt.Errorf("%d signatures, at most %d: %w", len(sigs), MaxSignatures, ErrLimit)
	}
	for _, s := range sigs {
		if len(s) == 0 || len(s) > maxSignature {
			return nil, fmt.Errorf("signature of %d bytes, at most %d: %w", len(s), maxSignature, ErrLimit)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b, nil
}

// parseSignatures is the inverse of appendSignatures; the result shares b.
func parseSignatures(b []byte) ([][]byte, error) {
	var sigs [][]byte
	for len(b) > 0 {
		if len(sigs) == MaxSignatures {
			return nil, fmt.Errorf("more than %d signatures: %w", MaxSignatures, ErrLimit)
		}
		if len(b) < 4 {
			return nil, fmt.Errorf("%d bytes behind the last signature: %w", len(b), ErrFormat)
		}
		n := binary.LittleEndian.Uint32(b)
		b = b[4:]
		if n == 0 || uint64(n) > uint64(len(b)) {
			return nil, fmt.Errorf("signature of %d bytes in %d: %w", n, len(b), ErrFormat)
		}
		if n > maxSignature {
			return nil, fmt.Errorf("signature of %d bytes, at most %d: %w", n, maxSignature, ErrLimit)
		}
		sigs = append(sigs, b[:n:n])
		b = b[n:]
	}
	return sigs, nil
}

// bounded cuts a reason to maxReason bytes of UTF-8.
func bounded(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "?")
}
