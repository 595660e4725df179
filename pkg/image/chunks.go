package image

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
)

// EachRun gives every chunk of a blob, verified and decompressed, to fn: p is the
// chunk's bytes and at where they belong, one extent after the other, adding up to
// len(p). fn is called by up to workers goroutines at a time (0: one a CPU, at most 8),
// roughly in order, and must keep neither. The first error, its own included, ends it.
// Errors are ErrDigest, ErrFormat, ErrVersion, ErrTruncated.
func (r *Reader) EachRun(b Blob, workers int, fn func(p []byte, at []Extent) error) error {
	if err := r.owns(b); err != nil {
		return err
	}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = int(min(b.Chunks(), uint64(workers), maxWorkers))
	run := &eachRun{r: r, fn: fn, workers: max(workers, 1), cut: newGroups(b)}
	if workers <= 1 {
		run.worker()
		return run.err
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(run.worker)
	}
	wg.Wait()
	return run.err
}

// EachChunk is EachRun with one call for each stretch of contiguous bytes.
func (r *Reader) EachChunk(b Blob, workers int, fn func(off uint64, p []byte) error) error {
	return r.EachRun(b, workers, func(p []byte, at []Extent) error {
		for _, e := range at {
			if err := fn(e.Off, p[:e.Len]); err != nil {
				return err
			}
			p = p[e.Len:]
		}
		return nil
	})
}

// ReadBlob returns the bytes of a blob's extents, one after the other, where they are
// at most limit. Errors are those of EachRun, and ErrLimit.
func (r *Reader) ReadBlob(b Blob, limit uint64) ([]byte, error) {
	if n := b.Size(); n > limit {
		return nil, fmt.Errorf("blob of %d bytes, at most %d: %w", n, limit, ErrLimit)
	}
	out := make([]byte, 0, b.Size())
	err := r.EachRun(b, 1, func(p []byte, _ []Extent) error {
		out = append(out, p...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// owns refuses blobs that the decoded manifest does not bound.
func (r *Reader) owns(b Blob) error {
	if err := b.Extents.Check(); err != nil {
		return err
	}
	if n := b.Chunks(); n > r.totals.Chunks || b.First > r.totals.Chunks-n {
		return fmt.Errorf("blob of chunks %d to %d of %d: %w", b.First, b.First+n, r.totals.Chunks, ErrFormat)
	}
	return nil
}

// eachRun is one call of EachRun.
type eachRun struct {
	r       *Reader
	fn      func([]byte, []Extent) error
	workers int

	mu  sync.Mutex
	cut groups
	err error
}

// next makes g the next group, unless there is none or an error.
func (e *eachRun) next(g *group) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err == nil && e.cut.cut(g, groupFor(e.cut.left, e.workers))
}

func (e *eachRun) worker() {
	var b opener
	for e.next(&b.group) {
		if err := b.open(e.r, e.fn); err != nil {
			e.mu.Lock()
			if e.err == nil {
				e.err = err
			}
			e.mu.Unlock()
			return
		}
	}
}

// opener is what a worker needs to turn stored groups into raw bytes.
type opener struct {
	group
	decompressor
	rows   []row
	stored []byte
	at     []Extent
}

// open reads a group in one go; its chunks lie one behind the other.
func (o *opener) open(r *Reader, fn func([]byte, []Extent) error) error {
	var err error
	if o.rows, err = r.rows(o.first, chunksOf(o.size), o.rows[:0]); err != nil {
		return err
	}
	last := o.rows[len(o.rows)-1]
	o.stored = grown(o.stored, int(last.off+uint64(last.stored)-o.rows[0].off))
	if err := r.fill(o.stored, o.rows[0].off); err != nil {
		return err
	}
	pos, rest, left := cursor{rest: o.group.at}, o.stored, o.size
	for i, row := range o.rows {
		n := min(left, ChunkSize)
		p, err := o.chunk(row, n, rest[:row.stored])
		if err != nil {
			return fmt.Errorf("chunk %d: %w", o.first+uint64(i), err)
		}
		rest, left = rest[row.stored:], left-n
		o.at = pos.take(n, o.at[:0])
		if err := fn(p, o.at); err != nil {
			return err
		}
	}
	return nil
}

// chunk verifies, then decompresses.
func (o *opener) chunk(r row, n uint64, stored []byte) ([]byte, error) {
	if uint64(r.raw) != n {
		return nil, fmt.Errorf("%d raw bytes, not %d: %w", r.raw, n, ErrFormat)
	}
	if sha256.Sum256(stored) != r.sum {
		return nil, ErrDigest
	}
	return o.decompress(r, stored)
}
