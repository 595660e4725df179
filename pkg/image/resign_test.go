package image

import (
	"bytes"
	"testing"
)

// An image that is given its own signatures again is the same image; given
// others, it differs in nothing else.
func TestWriteSigned(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, Options{})
	data := bytes.Repeat([]byte("some bytes "), 40000)
	w.Start(bytes.NewReader(data), []Extent{{0, uint64(len(data))}})
	m := &Manifest{Header: Header{Class: ClassSelf, Created: 1, Arch: "amd64"}, PIDs: PIDs{7}, Tree: []byte{0xa0}}
	if err := w.Close(m, func([]byte) ([][]byte, error) { return [][]byte{{1, 2}}, nil }); err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) *Reader {
		t.Helper()
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Decode(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := read(out.Bytes())
	var same, other bytes.Buffer
	if err := r.WriteSigned(&same, r.Signatures()); err != nil || !bytes.Equal(same.Bytes(), out.Bytes()) {
		t.Errorf("another image, %v", err)
	}
	if err := r.WriteSigned(&other, [][]byte{{1, 2}, {3, 4, 5}}); err != nil {
		t.Fatal(err)
	}
	got := read(other.Bytes())
	if !bytes.Equal(got.ManifestBytes(), r.ManifestBytes()) || len(got.Signatures()) != 2 || other.Len() != out.Len()+4+3 {
		t.Errorf("%d signatures in %d bytes", len(got.Signatures()), other.Len())
	}
	at, end, err := r.Signed([][]byte{{1, 2}, {3, 4, 5}})
	if err != nil || !bytes.Equal(append(append([]byte(nil), out.Bytes()[:at]...), end...), other.Bytes()) {
		t.Errorf("signed where it lies it is another one: %d bytes from %d on, %v", len(end), at, err)
	}
	b, err := got.ReadBlob(m.Blobs[0], 1<<20)
	if err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes of data, %v", len(b), err)
	}
}
