package image

import "fmt"

// ChunkSize is the raw size of every chunk but the last of a blob, in bytes.
const ChunkSize = 256 << 10

// groupChunks is how many chunks a worker takes in one turn at most: 2 MiB, so that
// two workers seldom touch one huge page and a write is worth its system call.
const groupChunks = 8

// groupFor returns how many chunks the next turn should have when left raw bytes are
// to be spread over workers: fewer where there is little, so that all get some.
func groupFor(left uint64, workers int) uint64 {
	return min(groupChunks, max(1, left/ChunkSize/uint64(4*workers)))
}

// Blob is bulk data: a process's memory, the content of a deleted file or of a
// pipe. The bytes of its extents, concatenated, are cut into chunks.
type Blob struct {
	Extents Extents `cbor:"1,keyasint"`
	First   uint64  `cbor:"2,keyasint"` // index of its first chunk in the table
}

// Size returns the raw bytes of the blob.
func (b Blob) Size() uint64 { return b.Extents.Size() }

// Chunks returns how many chunks the blob has.
func (b Blob) Chunks() uint64 { return chunksOf(b.Size()) }

func chunksOf(size uint64) uint64 { return size/ChunkSize + (size%ChunkSize+ChunkSize-1)/ChunkSize }

// Source is asked for the bytes of extents of a blob, by several goroutines at a
// time. A source of the kind io.ReaderAt that is also a Source is asked as one:
// scattered pages then cost one call a chunk instead of one a page.
type Source interface {
	// ReadExtents fills p with the bytes at each extent, one after the other.
	// The lengths add up to len(p), at most ChunkSize.
	ReadExtents(p []byte, at []Extent) error
}

// group is a turn of one worker: up to groupChunks chunks of one blob.
type group struct {
	first uint64 // chunk index
	size  uint64 // raw bytes
	at    []Extent
}

// groups cuts a blob into turns, in order.
type groups struct {
	cursor
	next uint64 // chunk index
	left uint64 // raw bytes
}

func newGroups(b Blob) groups {
	return groups{cursor: cursor{rest: b.Extents}, next: b.First, left: b.Size()}
}

// cut makes g the next turn of up to n chunks; it reports whether there was one.
func (s *groups) cut(g *group, n uint64) bool {
	if s.left == 0 {
		return false
	}
	g.first, g.size = s.next, min(s.left, n*ChunkSize)
	g.at = s.take(g.size, g.at[:0])
	s.next += chunksOf(g.size)
	s.left -= g.size
	return true
}

// checkBlobs checks that the blobs use the chunks from 0 to total, each once and
// in order, and returns the sum of their sizes.
func checkBlobs(blobs []Blob, total uint64) (raw uint64, err error) {
	var next uint64
	for i, b := range blobs {
		if err := b.Extents.Check(); err != nil {
			return 0, fmt.Errorf("blob %d: %w", i, err)
		}
		if b.First != next {
			return 0, fmt.Errorf("blob %d starts at chunk %d, not %d: %w", i, b.First, next, ErrFormat)
		}
		if b.Size() > maxChunks*ChunkSize {
			return 0, fmt.Errorf("blob %d of %d bytes: %w", i, b.Size(), ErrLimit)
		}
		next += b.Chunks()
		raw += b.Size()
		if next > total {
			return 0, fmt.Errorf("blob %d ends at chunk %d of %d: %w", i, next, total, ErrFormat)
		}
	}
	if next != total {
		return 0, fmt.Errorf("the blobs use %d chunks of %d: %w", next, total, ErrFormat)
	}
	return raw, nil
}
