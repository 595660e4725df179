package image_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"testing"

	"github.com/ckptool/ckpt/pkg/image"
)

const benchSize = 256 << 20

// mixed is plain memory: by turns a third noise, a third text-like, a third repeating,
// 256 KiB each.
func mixed() []byte {
	mem := make([]byte, benchSize)
	rnd := rand.New(rand.NewSource(1))
	for off := 0; off < len(mem); off += 256 << 10 {
		p := mem[off : off+256<<10]
		switch off >> 18 % 3 {
		case 0:
			rnd.Read(p)
		case 1:
			for i := 0; i < len(p); i += 16 {
				copy(p[i:], fmt.Sprintf("%016x", rnd.Intn(5000)))
			}
		case 2:
			for i := range p {
				p[i] = byte(i % 97)
			}
		}
	}
	return mem
}

var wholeBench = []image.Extent{{Off: 0, Len: benchSize}}

// BenchmarkFloor hashes the memory and does nothing else: what no dump without
// compression can beat.
func BenchmarkFloor(b *testing.B) {
	mem := mixed()
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprintf("sha256/%d", workers), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range workers {
					wg.Go(func() {
						for off := i * image.ChunkSize; off < len(mem); off += workers * image.ChunkSize {
							sha256.Sum256(mem[off : off+image.ChunkSize])
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	mem := mixed()
	for _, codec := range []image.Codec{image.CodecNone, image.CodecS2, image.CodecZstd} {
		for _, workers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/%d", codec, workers), func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					write(b, io.Discard, image.Options{Codec: codec, Workers: workers}, mem, wholeBench)
				}
			})
		}
	}
}

func BenchmarkReader(b *testing.B) {
	mem := mixed()
	place := make([]byte, benchSize)
	for _, codec := range []image.Codec{image.CodecNone, image.CodecS2, image.CodecZstd} {
		var out bytes.Buffer
		write(b, &out, image.Options{Codec: codec}, mem, wholeBench)
		for _, workers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/%d", codec, workers), func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					readAll(b, out.Bytes(), place, workers)
				}
			})
		}
		if !bytes.Equal(place, mem) {
			b.Error("the memory came back changed")
		}
	}
}

// BenchmarkTiny is the memory of a static program: 40 pages in 10 extents.
func BenchmarkTiny(b *testing.B) {
	mem := mixed()
	var x []image.Extent
	for i := range uint64(10) {
		x = append(x, image.Extent{Off: i << 20, Len: 16 << 10})
	}
	var out bytes.Buffer
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			out.Reset()
			write(b, &out, image.Options{}, mem, x)
		}
	})
	place := make([]byte, benchSize)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			readAll(b, out.Bytes(), place, 0)
		}
	})
}

// BenchmarkDecode decodes a manifest of 5,000 mappings with four records each and
// 40,000 extents.
func BenchmarkDecode(b *testing.B) {
	m := &image.Manifest{Header: header()}
	for i := range uint32(20000) {
		v, err := image.Marshal(struct {
			Start uint64 `cbor:"1,keyasint"`
			End   uint64 `cbor:"2,keyasint"`
			Prot  uint32 `cbor:"3,keyasint"`
		}{0x7f0000000000 + uint64(i)<<12, 0x7f0000000000 + uint64(i+1)<<12, 3})
		if err != nil {
			b.Fatal(err)
		}
		m.Records = append(m.Records, image.Record{Site: 8, ID: i, Kind: "anon", Version: 1, Body: v})
	}
	var x []image.Extent
	for i := range uint64(40000) {
		x = append(x, image.Extent{Off: i * 0x3000, Len: 0x1000})
	}
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	w.Start(bytes.NewReader(make([]byte, 40000*0x3000)), x)
	if err := w.Close(m, nil); err != nil {
		b.Fatal(err)
	}
	r := open(b, out.Bytes())
	b.SetBytes(int64(len(r.ManifestBytes())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Decode(); err != nil {
			b.Fatal(err)
		}
	}
}

func write(b *testing.B, out io.Writer, opt image.Options, mem []byte, x []image.Extent) {
	w := image.NewWriter(out, opt)
	if _, err := w.Blob(bytes.NewReader(mem), x); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(&image.Manifest{Header: header()}, nil); err != nil {
		b.Fatal(err)
	}
}

func readAll(b *testing.B, img, place []byte, workers int) {
	r := open(b, img)
	m, err := r.Decode()
	if err != nil {
		b.Fatal(err)
	}
	err = r.EachChunk(m.Blobs[0], workers, func(off uint64, p []byte) error {
		copy(place[off:], p)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
