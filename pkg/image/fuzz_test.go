package image

import (
	"bytes"
	"testing"
)

// FuzzOpen gives whole files to everything that reads one.
func FuzzOpen(f *testing.F) {
	for _, path := range vectorPaths(f) {
		if v := readVector(f, path); len(v.data) < 8<<10 {
			f.Add(v.data)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			oneClass(t, err)
			return
		}
		m, err := r.Decode()
		if err != nil {
			oneClass(t, err)
			return
		}
		for _, blob := range m.Blobs {
			if _, err := r.ReadBlob(blob, 1<<20); err != nil {
				oneClass(t, err)
			}
		}
	})
}

// FuzzManifest holds decoding against encoding.
func FuzzManifest(f *testing.F) {
	for _, path := range vectorPaths(f) {
		v := readVector(f, path)
		if r, err := Open(bytes.NewReader(v.data), int64(len(v.data))); err == nil && len(v.data) < 8<<10 {
			f.Add(r.ManifestBytes())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			oneClass(t, err)
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%x\nencodes to\n%x, %v", b, again, err)
		}
	})
}

// FuzzTable holds rows against their encoding, and checks that they tile.
func FuzzTable(f *testing.F) {
	for _, path := range vectorPaths(f) {
		v := readVector(f, path)
		if r, err := Open(bytes.NewReader(v.data), int64(len(v.data))); err == nil {
			f.Add(v.data[r.foot.table:r.foot.manifest], r.foot.table)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, end uint64) {
		b = b[:len(b)/rowSize*rowSize]
		rows, err := parseSegment(b, magicSize, end)
		if err != nil {
			oneClass(t, err)
			return
		}
		var again []byte
		at := uint64(magicSize)
		for _, r := range rows {
			again = r.append(again)
			if r.off != at || r.raw > ChunkSize || r.stored > r.raw {
				t.Errorf("%+v at %d", r, at)
			}
			at += uint64(r.stored)
		}
		if !bytes.Equal(b, again) || at != end {
			t.Errorf("%x\nencodes to\n%x", b, again)
		}
	})
}

// oneClass checks that every refusal tells its class, so that a tool knows its exit code.
func oneClass(t *testing.T, err error) {
	t.Helper()
	if n := countClasses(err); n != 1 {
		t.Errorf("%v is of %d classes", err, n)
	}
}
