package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/s2"
)

// TestFloorIsThePipeline: the floor stores what it was given, in order, and its restore refuses what was damaged.
func TestFloorIsThePipeline(t *testing.T) {
	memory := make([]byte, 33<<20+12345)
	random := rand.NewChaCha8([32]byte{1})
	for at := 0; at < len(memory); at += 3 << 20 {
		_, _ = random.Read(memory[at:min(at+1<<20, len(memory))])
	}
	path := filepath.Join(t.TempDir(), "floor")
	table, err := dumpTo(path, memory)
	if err != nil {
		t.Fatal(err)
	}
	if err := restoreFrom(path, table, len(memory)); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back []byte
	for _, s := range table {
		raw, err := s2.Decode(nil, file[s.off:s.off+int64(s.size)])
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, raw...)
	}
	if !bytes.Equal(back, memory) {
		t.Error("what was stored is not what was given")
	}
	file[table[40].off] ^= 1
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restoreFrom(path, table, len(memory)); err == nil {
		t.Error("a damaged file was taken")
	}
}
