package image

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// forge builds images that a Writer would not. The hooks change one thing each; what
// comes behind is computed from what they left, so that an image is wrong in one
// way only.
type forge struct {
	m      Manifest
	chunks []stored
	sigs   [][]byte
	prefix []byte // between magic and chunks

	rows     func([]row)             // before the table is encoded
	table    func([]byte)            // before its digests are taken
	late     func([]byte)            // after its digests were taken: chunks and table
	manifest func(*Manifest)         // before it is encoded
	encoded  func(raw []byte) []byte // after it was
	sigBytes func([]byte) []byte
	foot     func(*footer)
	whole    func([]byte) []byte
}

// stored is a chunk as it lies in the file.
type stored struct {
	row
	data []byte
}

func chunkOf(codec Codec, raw int, data []byte) stored {
	return stored{row{stored: uint32(len(data)), raw: uint32(raw), codec: codec, sum: sha256.Sum256(data)}, data}
}

// base is a valid image with four blobs: a text in two extents, 300 KiB of zeros, a
// text that s2 packed, none.
func base() *forge {
	text := []byte(strings.Repeat("all work and no play ", 10))
	f := &forge{sigs: [][]byte{[]byte("the signature")}}
	f.chunks = []stored{
		chunkOf(CodecNone, 5, []byte("hello")),
		chunkOf(codecZero, ChunkSize, nil),
		chunkOf(codecZero, 300<<10-ChunkSize, nil),
		chunkOf(CodecS2, len(text), s2.Encode(nil, text)),
	}
	f.m = Manifest{
		Format: FormatVersion,
		Digest: DigestSHA256,
		Header: Header{ID: [16]byte{1, 2, 3, 4}, Signer: "ada@example.org", Class: ClassSelf, Created: 1767225600,
			Ceiling: []string{"pids"}, Caller: Caller{UID: 1000, GID: 1000, Groups: []uint32{1000}},
			Arch: "amd64", Options: map[string]string{"pids": "here"}},
		PIDs:    PIDs{4711, 4712},
		Tree:    []byte{0xa0},
		Records: Records{{Site: 1, ID: 1, Kind: "toy", Version: 1, Body: []byte{0xa0}}},
		Blobs: []Blob{
			{Extents: Extents{{0x1000, 2}, {0x2000, 3}}, First: 0},
			{Extents: Extents{{0x10000, 300 << 10}}, First: 1},
			{Extents: Extents{{0, uint64(len(text))}}, First: 3},
			{First: 4},
		},
	}
	return f
}

func (f *forge) build(t testing.TB) []byte {
	t.Helper()
	out := append(magic(), f.prefix...)
	rows := make([]row, len(f.chunks))
	for i, c := range f.chunks {
		rows[i] = c.row
		rows[i].off = uint64(len(out))
		out = append(out, c.data...)
	}
	call(f.rows, rows)
	foot := footer{table: uint64(len(out))}
	table := f.tableOf(rows)
	out = append(out, table...)
	call(f.late, out)
	foot.manifest = uint64(len(out))
	f.sums(rows, foot.table, table)

	manifest := f.encode(t)
	sigs, err := appendSignatures(nil, f.sigs)
	if err != nil {
		t.Fatal(err)
	}
	if f.sigBytes != nil {
		sigs = f.sigBytes(sigs)
	}
	foot.length, foot.sigs = uint32(len(manifest)), uint32(len(sigs))
	out = append(append(out, manifest...), sigs...)
	foot.total = uint64(len(out)) + footerSize
	call(f.foot, &foot)
	out = foot.append(out)
	if f.whole != nil {
		out = f.whole(out)
	}
	return out
}

func call[T any](hook func(T), v T) {
	if hook != nil {
		hook(v)
	}
}

func (f *forge) tableOf(rows []row) []byte {
	var table []byte
	for _, r := range rows {
		table = r.append(table)
	}
	call(f.table, table)
	return table
}

// sums fills in what a Writer computes.
func (f *forge) sums(rows []row, end uint64, table []byte) {
	f.m.Segments = nil
	if len(rows) > 0 {
		f.m.Segments = Segments{{End: end, Digest: sha256.Sum256(table)}}
	}
	f.m.Totals = Totals{Stored: end - magicSize, Chunks: uint64(len(rows))}
	for _, b := range f.m.Blobs {
		f.m.Totals.Raw += b.Size()
	}
}

func (f *forge) encode(t testing.TB) []byte {
	call(f.manifest, &f.m)
	b, err := encoding().Marshal(&f.m)
	if err != nil {
		t.Fatal(err)
	}
	if f.encoded != nil {
		b = f.encoded(b)
	}
	return b
}

// swap replaces the one place where old stands in a manifest.
func swap(t testing.TB, old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if n := bytes.Count(b, []byte(old)); n != 1 {
			t.Fatalf("%q stands %d times in the manifest", old, n)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
}

func zstdOf(t testing.TB, raw []byte) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(raw, nil)
}
