package image

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// MaxBody is the most bytes a record's body may have. Bulk data is a Blob.
const MaxBody = 4 << 20

const (
	maxBodyArray     = 1 << 17 // NGROUPS_MAX is 1<<16, an epoll set may be larger
	maxManifestArray = 1 << 16 // blobs and groups; all that is longer is a byte string
	maxMapPairs      = 1 << 12
	maxNesting       = 16
)

// strict is a decoder and the encoder that must give back what was decoded.
type strict struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// The modes are immutable; made at first use, so that a program that decodes
// nothing pays nothing.
var (
	bodyCodec     = sync.OnceValue(func() strict { return newStrict(maxBodyArray) })
	manifestCodec = sync.OnceValue(func() strict { return newStrict(maxManifestArray) })
)

// newStrict panics on an error: that is a mistake in the constants below.
func newStrict(arrays int) strict {
	eo := cbor.CoreDetEncOptions()
	eo.NilContainers = cbor.NilContainerAsEmpty
	eo.TagsMd = cbor.TagsForbidden
	enc, err := eo.UserBufferEncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  arrays,
		MaxMapPairs:       maxMapPairs,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return strict{enc, dec}
}

// decode fills v from exactly one item and refuses b unless v encodes to b again.
// The library alone accepts unsorted keys, long integers, null for a struct and
// 31 bytes for an array of 32.
func (s strict) decode(b []byte, v any) error {
	if err := s.dec.Unmarshal(b, v); errors.Is(err, ErrLimit) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", classOf(err), err)
	}
	again := bytes.NewBuffer(make([]byte, 0, len(b)))
	if err := s.enc.MarshalToBuffer(v, again); err != nil {
		return fmt.Errorf("encoding it again: %w: %w", ErrFormat, err)
	}
	if !bytes.Equal(b, again.Bytes()) {
		return fmt.Errorf("not the canonical encoding: %w", ErrFormat)
	}
	return nil
}

// classOf tells the library's limits from its other complaints.
func classOf(err error) error {
	var arrays *cbor.MaxArrayElementsError
	var pairs *cbor.MaxMapPairsError
	var depth *cbor.MaxNestedLevelError
	if errors.As(err, &arrays) || errors.As(err, &pairs) || errors.As(err, &depth) {
		return ErrLimit
	}
	return ErrFormat
}

// Marshal encodes a record's body: CBOR, core deterministic (RFC 8949, 4.2.1),
// without tags; nil slices and maps as empty ones. Give struct fields integer keys
// (`cbor:"1,keyasint"`) and add omitempty only where zero means absent. No field
// may be an interface.
func Marshal(v any) ([]byte, error) {
	b, err := bodyCodec().enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	if len(b) > MaxBody {
		return nil, fmt.Errorf("encoding %T: %d bytes, at most %d: %w", v, len(b), MaxBody, ErrLimit)
	}
	return b, nil
}

// Unmarshal decodes a body into the zero value that v points to. It accepts only
// what Marshal gives for that value: no unknown or duplicate field, no other form
// of a number, nothing behind it. Errors are ErrFormat or ErrLimit.
func Unmarshal(b []byte, v any) error {
	if len(b) > MaxBody {
		return fmt.Errorf("decoding %T: %d bytes, at most %d: %w", v, len(b), MaxBody, ErrLimit)
	}
	if err := bodyCodec().decode(b, v); err != nil {
		return fmt.Errorf("decoding %T: %w", v, err)
	}
	return nil
}
