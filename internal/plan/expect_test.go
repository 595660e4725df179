package plan

import (
	"encoding/binary"
	"errors"
	"testing"
)

func stat(size uint64, sec int64, mode uint16) []byte {
	b := make([]byte, 64)
	binary.LittleEndian.PutUint64(b[40:], size)
	binary.LittleEndian.PutUint64(b[8:], uint64(sec))
	binary.LittleEndian.PutUint16(b[28:], mode)
	return b
}

var wantStat = []Field{
	{Off: 40, Want: stat(100, 0, 0)[40:48], Name: "size", Form: Number},
	{Off: 8, Want: stat(0, 1e9, 0)[8:20], Name: "mtime", Form: Time},
	{Off: 28, Want: []byte{0, 0x80}, Mask: []byte{0, 0xf0}, Name: "type", Form: Octal},
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name string
		out  [][]byte
		want string
	}{
		{"same", [][]byte{stat(100, 1e9, 0o100644)}, ""},
		{"bits outside of the mask", [][]byte{stat(100, 1e9, 0o100000)}, ""},
		{"size", [][]byte{stat(120, 1e9, 0o100644)}, "changed since the dump: size 100 -> 120"},
		{"two", [][]byte{stat(100, 1e9+1, 0o040755)},
			"changed since the dump: mtime 2001-09-09T01:46:40Z -> 2001-09-09T01:46:41Z, type 0100000 -> 040000"},
		{"short", [][]byte{make([]byte, 20)}, "changed since the dump: size 100 -> nothing, mtime 2001-09-09T01:46:40Z -> 1970-01-01T00:00:00Z, type 0100000 -> nothing"},
		{"no buffer", nil, "changed since the dump: size 100 -> nothing, mtime 2001-09-09T01:46:40Z -> nothing, type 0100000 -> nothing"},
	} {
		err := Compare(wantStat, c.out)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestChangedIsFound(t *testing.T) {
	var c Changed
	if err := Compare(wantStat, nil); !errors.As(err, &c) || len(c) != 3 || c[0].Name != "size" {
		t.Fatalf("%v", c)
	}
}
