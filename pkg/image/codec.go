package image

import "fmt"

// MaxBody is the most bytes a record's body may have. Bulk data is a Blob.
const MaxBody = 4 << 20

const (
	maxBodyArray     = 1 << 17 // NGROUPS_MAX is 1<<16, an epoll set may be larger
	maxManifestArray = 1 << 16 // blobs and groups; all that is longer is a byte string
	maxMapPairs      = 1 << 12
	maxNesting       = 16
)

// Marshal encodes a record's body: CBOR, core deterministic (RFC 8949, 4.2.1),
// without tags; nil slices and maps as empty ones. Give struct fields integer keys
// (`cbor:"1,keyasint"`) and add omitempty only where zero means absent. No field
// may be an interface.
func Marshal(v any) ([]byte, error) {
	b, err := encode(v)
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
	if err := decode(b, v, maxBodyArray); err != nil {
		return fmt.Errorf("decoding %T: %w", v, err)
	}
	return nil
}
