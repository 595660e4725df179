package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptool/ckpt/pkg/image"
)

// memory is an address space whose byte at an address can be told from the address.
// By turns 512 KiB are zeros, text, noise, so that some chunks are of one sort only.
type memory struct{}

func (memory) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		a := uint64(off) + uint64(i)
		switch (a >> 19) % 3 {
		case 0:
			p[i] = 0
		case 1:
			p[i] = "the quick brown fox "[a%20]
		case 2:
			p[i] = byte((a * 0x9e3779b97f4a7c15) >> 56)
		}
	}
	return len(p), nil
}

func at(off, n uint64) []byte {
	p := make([]byte, n)
	memory{}.ReadAt(p, int64(off))
	return p
}

// layout is a small sparse address space: pages with holes, a large run, a last
// chunk that is not full.
func layout() []image.Extent {
	var x []image.Extent
	for i := range uint64(100) {
		x = append(x, image.Extent{Off: 0x400000 + i*0x3000, Len: 0x1000})
	}
	return append(x, image.Extent{Off: 0x7f0000000000, Len: 5<<20 + 123}, image.Extent{Off: 0x7f0000000000 + 5<<20 + 123, Len: 1})
}

func header() image.Header {
	return image.Header{ID: [16]byte{1, 2, 3}, Class: image.ClassSelf, Created: 1, Arch: "amd64"}
}

func open(t testing.TB, b []byte) *image.Reader {
	t.Helper()
	r, err := image.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkBlob compares every byte of a blob with the memory it came from.
func checkBlob(t *testing.T, r *image.Reader, b image.Blob, workers int) {
	t.Helper()
	var mu sync.Mutex
	var n uint64
	err := r.EachChunk(b, workers, func(off uint64, p []byte) error {
		if !bytes.Equal(p, at(off, uint64(len(p)))) {
			return fmt.Errorf("%d bytes at %#x differ", len(p), off)
		}
		mu.Lock()
		defer mu.Unlock()
		n += uint64(len(p))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n != b.Size() {
		t.Errorf("read %d bytes of %d", n, b.Size())
	}
}

func TestRoundTrip(t *testing.T) {
	for _, codec := range []image.Codec{image.CodecS2, image.CodecZstd, image.CodecNone} {
		for _, workers := range []int{1, 4} {
			t.Run(fmt.Sprint(codec, workers), func(t *testing.T) { roundTrip(t, codec, workers) })
		}
	}
}

func roundTrip(t *testing.T, codec image.Codec, workers int) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{Codec: codec, Workers: workers})
	big := w.Start(memory{}, layout())
	empty := w.Start(memory{}, nil)
	small := w.Start(strings.NewReader("pipe contents"), []image.Extent{{Off: 0, Len: 13}})
	if b, err := w.Blob(memory{}, layout()[:3]); err != nil || b.Size() != 0x3000 {
		t.Fatal(b, err)
	}
	m := &image.Manifest{Header: header(), PIDs: image.PIDs{100, 101},
		Records: []image.Record{{Site: 1, ID: 7, Kind: "toy", Version: 1, Body: []byte{0xa0}}}}
	var signed []byte
	err := w.Close(m, func(b []byte) ([][]byte, error) {
		signed = bytes.Clone(b)
		return [][]byte{[]byte("one"), []byte("two")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}

	r := open(t, out.Bytes())
	if !bytes.Equal(r.ManifestBytes(), signed) {
		t.Error("the manifest is not what was signed")
	}
	if s := r.Signatures(); len(s) != 2 || string(s[0]) != "one" || string(s[1]) != "two" {
		t.Errorf("signatures %q", s)
	}
	got, err := r.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.PIDs, m.PIDs) || got.Records[0].Kind != "toy" || len(got.Blobs) != 4 {
		t.Errorf("decoded %+v", got)
	}
	checkBlob(t, r, got.Blobs[big.Index()], workers)
	checkBlob(t, r, got.Blobs[empty.Index()], workers)
	checkBlob(t, r, got.Blobs[3], workers)
	if b, err := r.ReadBlob(got.Blobs[small.Index()], 100); err != nil || string(b) != "pipe contents" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := r.ReadBlob(got.Blobs[small.Index()], 12); !errors.Is(err, image.ErrLimit) {
		t.Errorf("13 bytes with a limit of 12: %v", err)
	}
}

// scattered counts the calls that a Source gets.
type scattered struct {
	memory
	mu    sync.Mutex
	calls int
}

func (s *scattered) ReadExtents(p []byte, x []image.Extent) error {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	for _, e := range x {
		s.ReadAt(p[:e.Len], int64(e.Off))
		p = p[e.Len:]
	}
	if len(p) != 0 {
		return errors.New("the extents do not add up")
	}
	return nil
}

func TestSourceIsAskedOnceAChunk(t *testing.T) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	src := &scattered{}
	blob, err := w.Blob(src, layout())
	if err != nil {
		t.Fatal(err)
	}
	if uint64(src.calls) != blob.Chunks() {
		t.Errorf("%d calls for %d chunks", src.calls, blob.Chunks())
	}
	if err := w.Close(&image.Manifest{Header: header()}, nil); err != nil {
		t.Fatal(err)
	}
	r := open(t, out.Bytes())
	if _, err := r.Decode(); err != nil {
		t.Fatal(err)
	}
	checkBlob(t, r, blob, 3)
}

// broken fails from an address on.
type broken struct{ memory }

var errGone = errors.New("the process is gone")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 64<<20 {
		return 0, errGone
	}
	return b.memory.ReadAt(p, off)
}

func TestFailedDump(t *testing.T) {
	for _, before := range []uint64{0, 1, 60 << 20} {
		var out bytes.Buffer
		w := image.NewWriter(&out, image.Options{})
		p := w.Start(broken{}, []image.Extent{{Off: 64<<20 - before, Len: before + 1}})
		after := w.Start(memory{}, layout())
		for _, p := range []*image.Pending{p, after} {
			if _, err := p.Wait(); !errors.Is(err, errGone) {
				t.Errorf("Wait: %v", err)
			}
		}
		if err := w.Close(&image.Manifest{Header: header()}, nil); !errors.Is(err, errGone) {
			t.Errorf("Close: %v", err)
		}
		if err := w.Fail("pid 7: the \x1b[31mprocess\xff is gone" + strings.Repeat("!", 5000)); err != nil {
			t.Fatal(err)
		}
		_, err := image.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if !errors.Is(err, image.ErrFailedDump) || !strings.Contains(err.Error(), `"pid 7: the \x1b[31mprocess? is gone!`) {
			t.Errorf("%.100v", err)
		}
		if n := len(err.Error()); n > 5000 {
			t.Errorf("a reason of %d bytes", n)
		}
	}
}

// narrow takes n bytes and then refuses once; after that nobody may try again.
type narrow struct {
	t *testing.T
	n int
}

func (s *narrow) Write(p []byte) (int, error) {
	if s.n < 0 {
		s.t.Error("written to after an error")
	}
	if s.n -= len(p); s.n < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestSinkFails(t *testing.T) {
	for _, n := range []int{0, 100, 1 << 20, 4 << 20} {
		w := image.NewWriter(&narrow{t, n}, image.Options{})
		w.Start(memory{}, []image.Extent{{Off: 1 << 32, Len: 32 << 20}})
		if err := w.Close(&image.Manifest{Header: header()}, nil); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: Close: %v", n, err)
		}
		if err := w.Fail("reason"); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: Fail: %v", n, err)
		}
	}
}

// slow counts the reads under way.
type slow struct{ active atomic.Int32 }

func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	s.active.Add(1)
	defer s.active.Add(-1)
	time.Sleep(10 * time.Millisecond)
	return memory{}.ReadAt(p, off)
}

// TestFailWaits gives up in mid-dump: nobody may read the process afterwards.
func TestFailWaits(t *testing.T) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{Workers: 4})
	src := &slow{}
	w.Start(src, []image.Extent{{Off: 0, Len: 64 << 20}})
	for src.active.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := w.Fail("interrupted"); err != nil {
		t.Fatal(err)
	}
	if n := src.active.Load(); n != 0 {
		t.Errorf("%d reads under way after Fail", n)
	}
	if _, err := image.Open(bytes.NewReader(out.Bytes()), int64(out.Len())); !errors.Is(err, image.ErrFailedDump) {
		t.Error(err)
	}
}

func TestNoBlobs(t *testing.T) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	if err := w.Close(&image.Manifest{Header: header()}, nil); err != nil {
		t.Fatal(err)
	}
	n := out.Len()
	if err := w.Fail("too late"); err == nil || out.Len() != n {
		t.Errorf("Fail after Close wrote %d bytes: %v", out.Len()-n, err)
	}
	if _, err := open(t, out.Bytes()).Decode(); err != nil {
		t.Error(err)
	}
}

func TestSignerRefuses(t *testing.T) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	err := w.Close(&image.Manifest{Header: header()}, func([]byte) ([][]byte, error) { return nil, errGone })
	if !errors.Is(err, errGone) {
		t.Error(err)
	}
	if err := w.Fail("no key"); err != nil {
		t.Error(err)
	}
	if _, err := image.Open(bytes.NewReader(out.Bytes()), int64(out.Len())); !errors.Is(err, image.ErrFailedDump) {
		t.Error(err)
	}
}

func TestSpool(t *testing.T) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	w.Start(memory{}, layout())
	if err := w.Close(&image.Manifest{Header: header()}, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, n, err := image.Spool(bytes.NewReader(out.Bytes()), dir, int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r, err := image.Open(f, n); err != nil {
		t.Error(err)
	} else if _, err := r.Decode(); err != nil {
		t.Error(err)
	}
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	if _, _, err := image.Spool(bytes.NewReader(out.Bytes()), dir, int64(out.Len())-1); !errors.Is(err, image.ErrLimit) {
		t.Errorf("one byte too much: %v", err)
	}
	if _, _, err := image.Spool(rand.New(rand.NewSource(1)), dir, 1<<40); !errors.Is(err, image.ErrFormat) {
		t.Errorf("noise: %v", err)
	}
	if _, _, err := image.Spool(strings.NewReader(""), dir, 1<<40); !errors.Is(err, image.ErrTruncated) {
		t.Errorf("nothing: %v", err)
	}
}
