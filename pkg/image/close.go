package image

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Close finishes what was started, completes m (see Manifest) and writes table,
// manifest, signatures and footer. sign gets the manifest's bytes and returns the
// signatures over them; nil leaves the image unsigned. Close does not close the
// underlying writer.
func (w *Writer) Close(m *Manifest, sign func(manifest []byte) ([][]byte, error)) error {
	if err := w.drain(); err != nil {
		return err
	}
	w.complete(m)
	manifest, err := m.encode()
	if err != nil {
		return w.broken(err)
	}
	var sigs [][]byte
	if sign != nil {
		if sigs, err = sign(manifest); err != nil {
			return w.broken(fmt.Errorf("signing the image: %w", err))
		}
	}
	return w.tail(manifest, sigs)
}

var errClosed = errors.New("the image is complete")

// drain waits for every blob and dismisses the workers.
func (w *Writer) drain() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work(func() bool { return len(w.queue) == 0 && w.taken == w.written })
	w.dismiss()
	return w.err
}

// dismiss ends the workers and waits for them.
func (w *Writer) dismiss() {
	w.stop = true
	w.changed.Broadcast()
	for w.workers > 0 || w.flushing {
		w.changed.Wait()
	}
}

func (w *Writer) broken(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
	return err
}

// complete fills in what the Writer knows.
func (w *Writer) complete(m *Manifest) {
	m.Format, m.Digest = FormatVersion, DigestSHA256
	m.Blobs, m.Totals = w.blobs, w.totals
	if w.totals.Chunks%SegmentRows != 0 {
		w.ends = append(w.ends, magicSize+w.totals.Stored)
	}
	m.Segments = make(Segments, len(w.ends))
	for i, end := range w.ends {
		rows := w.table[i*SegmentRows*rowSize : min((i+1)*SegmentRows*rowSize, len(w.table))]
		m.Segments[i] = Segment{End: end, Digest: sha256.Sum256(rows)}
	}
}

// tail writes all that follows the chunks, in one write where it is small.
func (w *Writer) tail(manifest []byte, sigs [][]byte) error {
	f := footer{table: magicSize + w.totals.Stored, length: uint32(len(manifest))}
	f.manifest = f.table + uint64(len(w.table))
	out := append(w.table, manifest...)
	before := len(out)
	out, err := appendSignatures(out, sigs)
	if err != nil {
		return w.broken(err)
	}
	f.sigs = uint32(len(out) - before)
	f.total = f.table + uint64(len(out)) + footerSize
	return w.last(f.append(out))
}

// last writes the end of the stream, after which there is nothing.
func (w *Writer) last(p []byte) error {
	if err := w.sink.write(p); err != nil {
		return w.broken(fmt.Errorf("writing the image: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.fail(errClosed)
	return nil
}

// Fail ends the stream with the reason why there is no image; a reader reports it
// as ErrFailedDump. The reason is cut to 4096 bytes. Fail waits for the workers,
// which give up their blobs; it writes nothing where Close was through or the
// underlying writer failed in mid-write.
func (w *Writer) Fail(reason string) error {
	w.broken(errors.New("the dump was given up"))
	w.mu.Lock()
	w.dismiss()
	err, over := w.err, w.closed || w.sink.broken
	w.mu.Unlock()
	if over {
		return err
	}
	text := bounded(reason)
	at := max(w.sink.off, magicSize)
	f := footer{table: at, manifest: at, length: uint32(len(text)), failed: true}
	f.total = at + uint64(len(text)) + footerSize
	return w.last(f.append([]byte(text)))
}
