package image

import (
	"fmt"
	"io"
	"runtime"
	"sync"
)

// Options of a Writer; the zero value is a good choice.
type Options struct {
	Codec   Codec
	Workers int // goroutines that read, compress and hash, beside one that waits; 0: one a CPU; at most 8
}

const (
	maxWorkers = 8
	// maxInFlight bounds the groups between being read and being written, and with
	// them the memory: 10 x 2 MiB of output and 8 x 0.25 MiB of input.
	maxInFlight = maxWorkers + 2
)

// Writer writes one image as a stream. Start and Blob may be called by several
// goroutines; Close or Fail once, at the end.
//
// Workers take groups of chunks off a queue, in order, and write the group that is
// next in the stream when it is ready. A Wait works too, so that small images need
// no goroutine at all.
type Writer struct {
	opt  Options
	sink sink // belongs to whoever set flushing

	mu       sync.Mutex
	changed  sync.Cond // anything below
	queue    []*Pending
	backlog  uint64 // raw bytes in the queue
	blobs    []Blob
	chunks   uint64 // chunk indices given out
	taken    uint64 // groups taken off the queue
	written  uint64 // groups in the stream
	ready    [maxInFlight]*turn
	flushing bool
	workers  int  // running
	stop     bool // workers shall leave
	closed   bool // the stream has its end
	err      error
	idle     []*turn
	tools    []*bench
	totals   Totals
	table    []byte // rows
	ends     []uint64
}

// NewWriter returns a Writer of one image to w. Nothing is written before the first
// blob or Close.
func NewWriter(w io.Writer, opt Options) *Writer {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	opt.Workers = min(opt.Workers, maxWorkers)
	wr := &Writer{opt: opt, sink: sink{w: w}}
	wr.changed.L = &wr.mu
	return wr
}

// Pending is a blob on its way into the stream.
type Pending struct {
	w     *Writer
	src   io.ReaderAt
	blob  Blob
	index uint32
	cut   groups
	left  uint64 // raw bytes not yet in the stream
}

// Index returns the blob's place in Manifest.Blobs, for a record to refer to.
func (p *Pending) Index() uint32 { return p.index }

// Start queues the bytes of extents as the next blob and returns at once. src is
// read by several goroutines, a chunk at a time, until Wait returns; if it is also
// a Source, only ReadExtents is called. Extents must pass Extents.Check and stay
// unchanged. A short read is an error.
func (w *Writer) Start(src io.ReaderAt, extents []Extent) *Pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &Pending{w: w, src: src, index: uint32(len(w.blobs))}
	if err := Extents(extents).Check(); err != nil {
		w.fail(fmt.Errorf("blob %d: %w", p.index, err))
		return p
	}
	p.blob = Blob{Extents: extents, First: w.chunks}
	p.cut = newGroups(p.blob)
	p.left = p.blob.Size()
	w.chunks += p.blob.Chunks()
	w.blobs = append(w.blobs, p.blob)
	if w.chunks > maxChunks {
		w.fail(fmt.Errorf("blob %d: %d chunks: %w", p.index, w.chunks, ErrLimit))
	}
	if p.left > 0 {
		w.queue = append(w.queue, p)
		w.backlog += p.left
		w.hire()
	}
	return p
}

// Blob is Start and Wait. Use it where the source must be done with at once.
func (w *Writer) Blob(src io.ReaderAt, extents []Extent) (Blob, error) {
	return w.Start(src, extents).Wait()
}

// Wait works on the queue until the blob and all before it are in the stream. After
// an error of any blob every Wait returns that error.
func (p *Pending) Wait() (Blob, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work(func() bool { return p.left == 0 })
	return p.blob, w.err
}

// Progress returns how many raw bytes are in the stream, and how many they became.
func (w *Writer) Progress() (raw, stored uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.totals.Raw, w.totals.Stored
}

// hire starts workers where the queue is more than a Wait does as fast by itself.
func (w *Writer) hire() {
	for w.workers < w.opt.Workers && uint64(w.workers) < w.backlog/(2*ChunkSize) {
		w.workers++
		go w.worker()
	}
	w.changed.Broadcast()
}

func (w *Writer) worker() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work(func() bool { return w.stop })
	w.workers--
	w.changed.Broadcast()
}

// work writes and fills groups, or sleeps when there are none, until done or an error.
func (w *Writer) work(done func() bool) {
	for w.err == nil && !done() {
		if w.flush() {
			continue
		}
		if t := w.take(); t != nil {
			w.do(t)
		} else {
			w.changed.Wait()
		}
	}
}

// take returns the next group, or nil where the queue is empty or enough groups are
// under way. The oldest of those is always in a worker's hands, so it will end.
func (w *Writer) take() *turn {
	if len(w.queue) == 0 || w.taken-w.written == maxInFlight {
		return nil
	}
	t := w.newTurn()
	t.of = w.queue[0]
	t.of.cut.cut(&t.group, groupFor(w.backlog, w.opt.Workers))
	w.backlog -= t.size
	t.seq = w.taken
	w.taken++
	if t.of.cut.left == 0 {
		w.queue = w.queue[1:]
	}
	return t
}

func (w *Writer) newTurn() *turn {
	if n := len(w.idle); n > 0 {
		t := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return t
	}
	return &turn{}
}

// do fills a turn without the lock and puts it in line.
func (w *Writer) do(t *turn) {
	b := w.newBench()
	w.mu.Unlock()
	err := t.fill(b)
	w.mu.Lock()
	w.tools = append(w.tools, b)
	if err != nil {
		w.fail(fmt.Errorf("blob %d: %w", t.of.index, err))
		return
	}
	w.ready[t.seq%maxInFlight] = t
	w.changed.Broadcast()
}

func (w *Writer) newBench() *bench {
	if n := len(w.tools); n > 0 {
		b := w.tools[n-1]
		w.tools = w.tools[:n-1]
		return b
	}
	return &bench{compressor: compressor{codec: w.opt.Codec}}
}

// flush writes the group that is next in line and reports whether it could.
func (w *Writer) flush() bool {
	t := w.ready[w.written%maxInFlight]
	if w.flushing || t == nil {
		return false
	}
	w.flushing = true
	w.mu.Unlock()
	err := w.sink.write(t.out)
	w.mu.Lock()
	w.flushing = false
	if err != nil {
		w.fail(fmt.Errorf("writing the image: %w", err))
		return true
	}
	w.ready[w.written%maxInFlight] = nil
	w.enter(t)
	return true
}

// enter accounts for a turn that is in the stream now.
func (w *Writer) enter(t *turn) {
	for _, r := range t.rows {
		r.off = magicSize + w.totals.Stored
		w.totals.Stored += uint64(r.stored)
		w.totals.Raw += uint64(r.raw)
		w.totals.Chunks++
		w.table = r.append(w.table)
		if w.totals.Chunks%SegmentRows == 0 {
			w.ends = append(w.ends, magicSize+w.totals.Stored)
		}
	}
	w.written++
	t.of.left -= t.size
	t.of = nil
	w.idle = append(w.idle, t)
	w.changed.Broadcast()
}

// fail keeps the first error and wakes everybody.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.changed.Broadcast()
}
