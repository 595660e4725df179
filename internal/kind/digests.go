package kind

// Digests is what the engine's Dump offers beside: what a file held whose opening
// may come to take somebody's authority.
type Digests interface {
	// Digest is the SHA-256 of an inode's content; nil where nobody's authority
	// hangs on it.
	Digest(i *InodeSite) ([]byte, error)
}

// Digested is the record of a file that may know what the file held: SHA-256,
// nil if it doesn't.
type Digested interface {
	Digest() []byte
}
