package image

import "errors"

// The classes of refusal. Every error about an image's content wraps exactly one
// of them; an error of the caller's reader, writer or source wraps none.
var (
	// ErrFormat is an image that is not one, or that breaks a rule of SPEC.md.
	ErrFormat = errors.New("malformed image")
	// ErrVersion is a format version, digest or codec that this reader does not know.
	ErrVersion = errors.New("unknown format version")
	// ErrTruncated is a stream that does not end as an image ends.
	ErrTruncated = errors.New("truncated image")
	// ErrDigest is content that differs from what the manifest vouches for.
	ErrDigest = errors.New("digest mismatch")
	// ErrLimit is a size or a count beyond what this reader accepts.
	ErrLimit = errors.New("limit exceeded")
	// ErrFailedDump is a stream that the dumper itself declared failed.
	ErrFailedDump = errors.New("the dump failed")
)
