package image

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// signed is a small image as a Writer writes it, with a stand-in for a signature.
func signed(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, Options{})
	text := strings.Repeat("all work and no play ", 10)
	w.Start(strings.NewReader(text), []Extent{{1, 2}, {4, 100}})
	w.Start(bytes.NewReader(make([]byte, 300<<10)), []Extent{{0, 300 << 10}})
	w.Start(strings.NewReader("short"), []Extent{{0, 5}})
	m := base().m
	err := w.Close(&m, func(b []byte) ([][]byte, error) {
		sum := sha256.Sum256(b)
		return [][]byte{sum[:]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var errSignature = errors.New("bad signature")

// accept does what a verifier does, and says why it refuses.
func accept(b []byte) error {
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	sum := ManifestDigest(r.ManifestBytes())
	if s := r.Signatures(); len(s) != 1 || !bytes.Equal(s[0], sum[:]) {
		return errSignature
	}
	_, _, err = digests(b)
	return err
}

// TestEveryChange changes every bit, and every byte to every sort of other byte.
func TestEveryChange(t *testing.T) {
	good := signed(t)
	if err := accept(good); err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(good)
	for i, old := range good {
		for _, c := range []byte{old ^ 1, old ^ 2, old ^ 4, old ^ 8, old ^ 16, old ^ 32, old ^ 64, old ^ 128, ^old, old + 1, old - 1} {
			b[i] = c
			if accept(b) == nil {
				t.Errorf("accepted with byte %d of %d changed from %#x to %#x", i, len(b), old, c)
			}
		}
		b[i] = old
	}
}

// TestEveryLength cuts the image anywhere, at both ends, takes each byte out and
// doubles it.
func TestEveryLength(t *testing.T) {
	good := signed(t)
	for i := range good {
		for what, b := range map[string][]byte{
			"cut to":        good[:i],
			"cut up to":     good[i+1:],
			"less byte":     append(bytes.Clone(good[:i]), good[i+1:]...),
			"with twice":    append(bytes.Clone(good[:i+1]), good[i:]...),
			"repeated from": append(bytes.Clone(good), good[i:]...),
		} {
			if err := accept(b); err == nil {
				t.Errorf("accepted %s %d", what, i)
			}
		}
		if err := accept(good[:i]); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

// TestSplice gives an image the chunks and table of another that has the same shape.
func TestSplice(t *testing.T) {
	one, two := base(), base()
	two.chunks[0] = chunkOf(CodecNone, 5, []byte("HELLO"))
	a, b := one.build(t), two.build(t)
	if len(a) != len(b) {
		t.Fatal("the shapes differ")
	}
	r, err := Open(bytes.NewReader(a), int64(len(a)))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{magicSize + 5, r.foot.table, r.foot.manifest} {
		mixed := append(bytes.Clone(b[:n]), a[n:]...)
		if _, _, err := digests(mixed); !errors.Is(err, ErrDigest) {
			t.Errorf("spliced at %d: %v", n, err)
		}
	}
}

// zeros is a source without end.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// TestTwoSegments crosses the border of two table segments, which takes a GiB of raw
// bytes, here zeros.
func TestTwoSegments(t *testing.T) {
	const size = (SegmentRows + 3) * ChunkSize
	var out bytes.Buffer
	w := NewWriter(&out, Options{})
	w.Start(strings.NewReader("first"), []Extent{{0, 5}})
	w.Start(zeros{}, []Extent{{0, size}})
	last := w.Start(strings.NewReader("last"), []Extent{{0, 4}})
	if err := w.Close(&Manifest{Header: Header{Class: ClassSelf}}, nil); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	r, m := reopen(t, b)
	var n [2]uint64
	err := r.EachRun(m.Blobs[1], 1, func(p []byte, at []Extent) error {
		n[0] += uint64(len(p))
		n[1] += Extents(at).Size()
		return nil
	})
	if err != nil || n != [2]uint64{size, size} {
		t.Errorf("%d bytes of %d: %v", n, uint64(size), err)
	}
	if p, err := r.ReadBlob(m.Blobs[last.Index()], 4); err != nil || string(p) != "last" {
		t.Errorf("%q, %v", p, err)
	}

	b[r.foot.table+SegmentRows*rowSize+40] ^= 1 // a digest in the second segment
	r, m = reopen(t, b)
	if p, err := r.ReadBlob(m.Blobs[0], 5); err != nil || string(p) != "first" {
		t.Errorf("the first segment does not stand by itself: %q, %v", p, err)
	}
	err = r.EachRun(m.Blobs[1], 4, func([]byte, []Extent) error { return nil })
	if !errors.Is(err, ErrDigest) {
		t.Errorf("a changed second segment: %v", err)
	}
}

func reopen(t *testing.T, b []byte) (*Reader, *Manifest) {
	t.Helper()
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return r, m
}

// TestCutWhileOpen shortens the file after Open.
func TestCutWhileOpen(t *testing.T) {
	b := signed(t)
	r, m := reopen(t, b)
	for _, n := range []int64{20, int64(r.foot.table) + 3} {
		r.r = io.NewSectionReader(bytes.NewReader(b), 0, n)
		r.segments[0] = nil
		if _, err := r.ReadBlob(m.Blobs[0], 1000); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
}

// TestMarshal checks the codec of bodies beyond what the manifest's vectors do.
func TestMarshal(t *testing.T) {
	type body struct {
		Name  string            `cbor:"1,keyasint"`
		List  []uint32          `cbor:"2,keyasint"`
		Map   map[string]uint64 `cbor:"3,keyasint"`
		Maybe *uint8            `cbor:"4,keyasint,omitempty"`
		ID    [4]byte           `cbor:"5,keyasint"`
	}
	b, err := Marshal(body{Name: "x"})
	if want := "a40161780280" + "03a0" + "054400000000"; err != nil || fmt.Sprintf("%x", b) != want {
		t.Fatalf("%x, %v", b, err)
	}
	var v body
	if err := Unmarshal(b, &v); err != nil || v.Name != "x" {
		t.Error(v, err)
	}
	for _, bad := range []string{
		"\xa4\x01\x61x\x02\xf6\x03\xa0\x05\x44\x00\x00\x00\x00",             // null for a list
		"\xa4\x01\x61x\x02\x80\x03\xa0\x05\x43\x00\x00\x00",                 // three bytes for four
		"\xa4\x01\x61x\x02\x80\x03\xa0\x05\x45\x00\x00\x00\x00\x00",         // five bytes for four
		"\xa3\x01\x61x\x02\x80\x03\xa0",                                     // a key missing
		"\xa5\x01\x61x\x02\x80\x03\xa0\x04\xf6\x05\x44\x00\x00\x00\x00",     // null for absent
		"\xa4\x01\x61x\x02\x81\x20\x03\xa0\x05\x44\x00\x00\x00\x00",         // a negative number
		"\xa4\x01\x61x\x02\x81\xf9\x3c\x00\x03\xa0\x05\x44\x00\x00\x00\x00", // 1.0 for 1
		"\xa4\x01\x61x\x02\x80\x03\xa0\x05\x44\x00\x00\x00\x00\x00",         // trailing
		"\xf6", "", "\x80",
	} {
		if err := Unmarshal([]byte(bad), new(body)); !errors.Is(err, ErrFormat) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if err := Unmarshal(make([]byte, MaxBody+1), new(body)); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
	if _, err := Marshal(make([]byte, MaxBody)); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
}
