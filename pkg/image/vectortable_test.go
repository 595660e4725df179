package image

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

// made is how one vector differs from base.
type made struct {
	name, expect, comment string
	change                func(*forge)
}

func vectorTable(t testing.TB) []made {
	return slices.Concat(envelopeVectors(), signatureVectors(), encodingVectors(t), headerVectors(),
		recordVectors(t), blobVectors(), segmentVectors(), rowVectors(), chunkVectors(t))
}

func envelopeVectors() []made {
	cut := func(n int) func(*forge) {
		return func(f *forge) { f.whole = func(b []byte) []byte { return b[:n] } }
	}
	foot := func(hook func(*footer)) func(*forge) { return func(f *forge) { f.foot = hook } }
	return []made{
		{"layout-good", "success", "four blobs, one signature", func(*forge) {}},
		{"layout-appended", "truncated", "one byte behind the footer",
			func(f *forge) { f.whole = func(b []byte) []byte { return append(b, 0) } }},
		{"layout-prepended", "format", "one byte before the magic",
			func(f *forge) { f.whole = func(b []byte) []byte { return append([]byte{0}, b...) } }},
		{"magic-wrong", "format", "another letter", func(f *forge) {
			f.whole = func(b []byte) []byte { b[1] = 'C'; return b }
		}},
		{"magic-textmode", "format", "a transfer in text mode changed the line ends", func(f *forge) {
			f.whole = func(b []byte) []byte { return bytes.Replace(b, []byte("\r\n"), []byte("\n"), 1) }
		}},
		{"version-2", "version", "the version in the magic is 2", func(f *forge) {
			f.whole = func(b []byte) []byte { b[14] = 2; return b }
		}},
		{"truncated-empty", "truncated", "no byte at all", cut(0)},
		{"truncated-magic", "truncated", "only the magic", cut(16)},
		{"truncated-chunk", "truncated", "cut inside the first chunk", cut(18)},
		{"truncated-footer", "truncated", "the last byte is missing",
			func(f *forge) { f.whole = func(b []byte) []byte { return b[:len(b)-1] } }},
		{"footer-total", "format", "the total length is one more", foot(func(f *footer) { f.total++ })},
		{"footer-reserved", "format", "a reserved byte is set", func(f *forge) {
			f.whole = func(b []byte) []byte { b[len(b)-20] = 1; return b }
		}},
		{"footer-table", "format", "the table is said to start a row late", foot(func(f *footer) { f.table += 64 })},
		{"footer-partial", "format", "the table is no multiple of 64 bytes", foot(func(f *footer) { f.table++ })},
		{"footer-low", "format", "the table starts inside the magic", func(f *forge) {
			// 38 and 210 bytes put the table at 264, which is 8 and four rows.
			f.chunks[0] = chunkOf(CodecNone, 38, make([]byte, 38))
			f.chunks[3] = chunkOf(CodecNone, 210, make([]byte, 210))
			f.m.Blobs[0].Extents[1].Len = 36
			f.foot = func(f *footer) { f.table = 8 }
		}},
		{"footer-cross", "format", "the manifest starts before the table", foot(func(f *footer) { f.manifest = f.table - 64 })},
		{"footer-gap", "format", "a byte between signatures and footer", foot(func(f *footer) { f.sigs-- })},
		{"footer-overflow", "format", "offsets near 2 to the 64", foot(func(f *footer) { f.table, f.manifest = ^uint64(63), ^uint64(63) })},
		{"limits-manifest", "limit", "a manifest of more than 64 MiB", foot(func(f *footer) { f.length = MaxManifest + 1 })},
		{"limits-signatures", "limit", "signatures of 4 GiB", foot(func(f *footer) { f.sigs = ^uint32(0) })},
		{"failed-reason", "failed", "the dumper said why it gave up", failedDump("pid 7: permission denied", func(*footer) {})},
		{"failed-signed", "format", "a failed dump with signatures",
			failedDump("pid 7: permission denied", func(f *footer) { f.length -= 8; f.sigs = 8 })},
		{"failed-long", "format", "a reason of 4097 bytes", failedDump(strings.Repeat("?", 4097), func(*footer) {})},
	}
}

// failedDump makes a stream that ends in a reason.
func failedDump(reason string, change func(*footer)) func(*forge) {
	return func(f *forge) {
		f.whole = func([]byte) []byte {
			b := append(magic(), "half a chunk"...)
			foot := footer{table: uint64(len(b)), manifest: uint64(len(b)), length: uint32(len(reason)), failed: true}
			foot.total = foot.manifest + uint64(foot.length) + footerSize
			change(&foot)
			return foot.append(append(b, reason...))
		}
	}
}

func signatureVectors() []made {
	raw := func(hook func([]byte) []byte) func(*forge) { return func(f *forge) { f.sigBytes = hook } }
	return []made{
		{"signatures-none", "success", "an unsigned image", func(f *forge) { f.sigs = nil }},
		{"signatures-two", "success", "two signatures", func(f *forge) { f.sigs = append(f.sigs, []byte("another")) }},
		{"signatures-empty", "format", "a signature of no bytes", raw(func(b []byte) []byte { return append(b, 0, 0, 0, 0) })},
		{"signatures-long", "format", "a signature longer than its region",
			raw(func(b []byte) []byte { b[0]++; return b })},
		{"signatures-rest", "format", "three bytes behind the last", raw(func(b []byte) []byte { return append(b, 0, 0, 0) })},
		{"limits-17signatures", "limit", "17 signatures", raw(func([]byte) []byte {
			return bytes.Repeat([]byte{1, 0, 0, 0, 's'}, 17)
		})},
		{"limits-signature", "limit", "a signature of 64 KiB and a byte", raw(func([]byte) []byte {
			b := binary.LittleEndian.AppendUint32(nil, maxSignature+1)
			return append(b, make([]byte, maxSignature+1)...)
		})},
	}
}

// encodingVectors change the manifest's CBOR; it starts with map(9), 1: 1, 2: 1.
func encodingVectors(t testing.TB) []made {
	prefix := func(new string) func(*forge) {
		return func(f *forge) {
			f.encoded = func(b []byte) []byte {
				if !bytes.HasPrefix(b, []byte("\xa9\x01\x01\x02\x01\x03")) {
					t.Fatalf("the manifest starts with %x", b[:6])
				}
				return append([]byte(new), b[6:]...)
			}
		}
	}
	replace := func(old, new string) func(*forge) { return func(f *forge) { f.encoded = swap(t, old, new) } }
	return []made{
		{"cbor-long", "format", "an integer in two bytes that fits one", prefix("\xa9\x01\x18\x01\x02\x01\x03")},
		{"cbor-unsorted", "format", "keys out of order", prefix("\xa9\x02\x01\x01\x01\x03")},
		{"cbor-duplicate", "format", "a key twice", prefix("\xaa\x01\x01\x01\x01\x02\x01\x03")},
		{"cbor-unknown", "format", "an unknown key", prefix("\xaa\x00\x00\x01\x01\x02\x01\x03")},
		{"cbor-tagged", "format", "a tag", prefix("\xa9\x01\xc1\x01\x02\x01\x03")},
		{"cbor-indefinite", "format", "a map without a length", func(f *forge) {
			f.encoded = func(b []byte) []byte { b[0] = 0xbf; return append(b, 0xff) }
		}},
		{"cbor-trailing", "format", "a byte behind the manifest", func(f *forge) {
			f.encoded = func(b []byte) []byte { return append(b, 0) }
		}},
		{"cbor-missing", "format", "no totals", func(f *forge) {
			f.encoded = func(b []byte) []byte {
				i := bytes.LastIndex(b, []byte("\x09\xa3"))
				b[0]--
				return b[:i]
			}
		}},
		{"cbor-null", "format", "null for a list", replace("\x0f\x80", "\x0f\xf6")},
		{"cbor-short", "format", "15 bytes for an id of 16", replace("\x01\x50\x01\x02\x03\x04\x00", "\x01\x4f\x01\x02\x03\x04")},
		{"cbor-utf8", "format", "text that is no UTF-8", replace("ada@", "ad\xff@")},
		{"cbor-deep", "format", "arrays nested 100 deep", prefix("\xa9\x01" + strings.Repeat("\x81", 100) + "\x01\x02\x01\x03")},
		{"cbor-list", "limit", "a list of more elements than any may have",
			replace("\x0f\x80", "\x0f\x9a\x00\x01\x00\x01"+strings.Repeat("\x60", 1<<16+1))},
		{"cbor-empty", "format", "no manifest at all", func(f *forge) {
			f.encoded = func([]byte) []byte { return nil }
		}},
	}
}

func headerVectors() []made {
	head := func(hook func(*Header)) func(*forge) {
		return func(f *forge) { f.manifest = func(m *Manifest) { hook(&m.Header) } }
	}
	manifest := func(hook func(*Manifest)) func(*forge) { return func(f *forge) { f.manifest = hook } }
	return []made{
		{"manifest-format", "version", "format 2", manifest(func(m *Manifest) { m.Format = 2 })},
		{"manifest-digest", "version", "another hash", manifest(func(m *Manifest) { m.Digest = 2 })},
		{"header-class", "format", "an unknown class", head(func(h *Header) { h.Class = "root" })},
		{"header-nul", "format", "a NUL in a string", head(func(h *Header) { h.Signer = "ada\x00root" })},
		{"limits-string", "limit", "a signer of 256 bytes", head(func(h *Header) { h.Signer = strings.Repeat("a", 256) })},
		{"limits-ceiling", "limit", "257 needs in the ceiling", head(func(h *Header) { h.Ceiling = make([]string, 257) })},
		{"limits-map", "limit", "an id map of 341 lines", head(func(h *Header) { h.Caller.UIDMap = make([]IDRange, 341) })},
		{"limits-options", "limit", "65 options", head(func(h *Header) {
			for i := range 64 {
				h.Options[strings.Repeat("o", i+1)] = ""
			}
		})},
		{"pids-zero", "format", "process 0", manifest(func(m *Manifest) { m.PIDs[1] = 0 })},
		{"pids-large", "format", "a process beyond PID_MAX_LIMIT", manifest(func(m *Manifest) { m.PIDs[1] = 1<<22 + 1 })},
	}
}

func recordVectors(t testing.TB) []made {
	record := func(hook func(*Record)) func(*forge) {
		return func(f *forge) { f.manifest = func(m *Manifest) { hook(&m.Records[0]) } }
	}
	// The records are a byte string of 16 bytes: array(1), map(5) and so on.
	const frame = "\x50\x81\xa5\x01\x01\x02\x01\x03\x63toy\x04\x01\x05\x41\xa0"
	replace := func(new string) func(*forge) { return func(f *forge) { f.encoded = swap(t, frame, new) } }
	return []made{
		{"records-kind", "format", "a kind's name with a capital", record(func(r *Record) { r.Kind = "Toy" })},
		{"records-noname", "format", "a kind without a name", record(func(r *Record) { r.Kind = "" })},
		{"records-nobody", "format", "an empty body", record(func(r *Record) { r.Body = nil })},
		{"records-long", "format", "an id in two bytes that fits one",
			replace("\x51\x81\xa5\x01\x01\x02\x18\x01\x03\x63toy\x04\x01\x05\x41\xa0")},
		{"records-site", "format", "a site beyond 255", replace("\x52\x81\xa5\x01\x19\x01\x00\x02\x01\x03\x63toy\x04\x01\x05\x41\xa0")},
		{"records-order", "format", "keys out of order", replace("\x50\x81\xa5\x02\x01\x01\x01\x03\x63toy\x04\x01\x05\x41\xa0")},
		{"records-trailing", "format", "a byte behind the last record", replace("\x51\x81\xa5\x01\x01\x02\x01\x03\x63toy\x04\x01\x05\x41\xa0\x00")},
		{"records-body", "format", "a body longer than the records", replace("\x50\x81\xa5\x01\x01\x02\x01\x03\x63toy\x04\x01\x05\x42\xa0")},
		{"limits-records", "limit", "a thousand million records in a few bytes",
			replace("\x54\x9a\x3b\x9a\xca\x00\xa5\x01\x01\x02\x01\x03\x63toy\x04\x01\x05\x41\xa0")},
	}
}

func blobVectors() []made {
	manifest := func(hook func(*Manifest)) func(*forge) { return func(f *forge) { f.manifest = hook } }
	extents := func(x ...Extent) func(*forge) {
		return manifest(func(m *Manifest) { m.Blobs[0].Extents = x })
	}
	return []made{
		{"extents-touch", "success", "neighbours that touch", func(f *forge) {
			f.m.Blobs[0].Extents = Extents{{0x1000, 2}, {0x1002, 3}}
		}},
		{"extents-empty", "format", "an extent of no bytes", extents(Extent{0x1000, 5}, Extent{0x2000, 0})},
		{"extents-overlap", "format", "two that overlap", extents(Extent{0x1000, 3}, Extent{0x1002, 2})},
		{"extents-order", "format", "descending", extents(Extent{0x2000, 3}, Extent{0x1000, 2})},
		{"extents-high", "format", "beyond 2 to the 63", extents(Extent{1<<63 - 4, 5})},
		{"extents-wrap", "format", "around 2 to the 64", extents(Extent{1 << 62, 1<<64 - 5})},
		{"blobs-gap", "format", "a chunk that no blob has", manifest(func(m *Manifest) { m.Blobs[1].First = 2 })},
		{"blobs-shared", "format", "a chunk that two blobs have", manifest(func(m *Manifest) { m.Blobs[1].First = 0 })},
		{"blobs-left", "format", "chunks behind the last blob", manifest(func(m *Manifest) {
			m.Totals.Raw -= m.Blobs[2].Size()
			m.Blobs = m.Blobs[:2]
		})},
		{"blobs-empty", "format", "an empty blob at another chunk", manifest(func(m *Manifest) { m.Blobs[3].First = 0 })},
		{"blobs-beyond", "format", "more chunks than there are", manifest(func(m *Manifest) { m.Blobs[2].Extents[0].Len = ChunkSize + 1 })},
		{"limits-chunks", "limit", "more than 2 to the 26 chunks", manifest(func(m *Manifest) { m.Totals.Chunks = maxChunks + 1 })},
		{"totals-raw", "format", "another sum of raw bytes", manifest(func(m *Manifest) { m.Totals.Raw++ })},
		{"totals-stored", "format", "another sum of stored bytes", manifest(func(m *Manifest) { m.Totals.Stored++ })},
		{"totals-file", "format", "a chunk region longer than the manifest says", func(f *forge) {
			f.manifest = func(m *Manifest) { m.Totals.Stored--; m.Segments[0].End-- }
		}},
		{"totals-stray", "format", "bytes between magic and table, and no chunk", func(f *forge) {
			f.chunks, f.m.Blobs = nil, nil
			f.manifest = func(m *Manifest) { m.Totals = Totals{} }
			f.prefix = []byte("stray")
		}},
		{"totals-chunks", "format", "another number of rows than the file", manifest(func(m *Manifest) {
			m.Totals.Chunks, m.Blobs[3].Extents, m.Totals.Raw = 5, Extents{{0, 1}}, m.Totals.Raw+1
		})},
	}
}

func segmentVectors() []made {
	manifest := func(hook func(*Manifest)) func(*forge) { return func(f *forge) { f.manifest = hook } }
	return []made{
		{"segments-missing", "format", "no segment", manifest(func(m *Manifest) { m.Segments = nil })},
		{"segments-extra", "format", "one too many", manifest(func(m *Manifest) {
			m.Segments = append(m.Segments, m.Segments[0])
		})},
		{"segments-end", "format", "it ends inside the magic", manifest(func(m *Manifest) { m.Segments[0].End = 15 })},
		{"segments-digest", "digest", "a row changed after its digest was taken", func(f *forge) {
			f.late = func(b []byte) { b[len(b)-1] ^= 1 }
		}},
	}
}

func rowVectors() []made {
	rows := func(hook func([]row)) func(*forge) { return func(f *forge) { f.rows = hook } }
	return []made{
		{"rows-reserved", "format", "a reserved byte is set", func(f *forge) {
			f.table = func(b []byte) { b[17] = 1 }
		}},
		{"rows-codec", "version", "an unknown codec", rows(func(r []row) { r[0].codec = 9 })},
		{"rows-gap", "format", "a chunk that starts one byte late", rows(func(r []row) { r[1].off++ })},
		{"rows-overlap", "format", "a chunk that starts inside the one before", rows(func(r []row) { r[3].off-- })},
		{"rows-swapped", "format", "two rows in the wrong order", func(f *forge) {
			f.chunks[1], f.chunks[0] = f.chunks[0], f.chunks[1]
		}},
		{"rows-end", "format", "the last chunk ends before its segment does", rows(func(r []row) { r[3].stored-- })},
		{"rows-noraw", "format", "a chunk of no raw bytes", rows(func(r []row) { r[0].raw, r[0].stored = 0, 0 })},
		{"rows-large", "format", "a chunk of more than 256 KiB", rows(func(r []row) { r[1].raw = ChunkSize + 1 })},
		{"rows-none", "format", "codec none with another length", rows(func(r []row) { r[0].raw = 6 })},
		{"rows-zero", "format", "codec zero with bytes", rows(func(r []row) { r[0].codec = codecZero })},
		{"rows-grown", "format", "codec s2 with more bytes stored than raw", func(f *forge) {
			f.chunks[0] = chunkOf(CodecS2, 5, s2.Encode(nil, []byte("hello")))
		}},
		{"rows-size", "format", "a chunk that is not full and not its blob's last", rows(func(r []row) { r[1].raw-- })},
	}
}

func chunkVectors(t testing.TB) []made {
	text := bytes.Repeat([]byte("all work and no play "), 10)
	last := func(codec Codec, data []byte) func(*forge) {
		return func(f *forge) { f.chunks[3] = chunkOf(codec, len(text), data) }
	}
	bomb := zstdOf(t, make([]byte, 1<<20))
	return []made{
		{"chunks-zstd", "success", "the last blob packed by zstd", last(CodecZstd, zstdOf(t, text))},
		{"chunks-flipped", "digest", "a changed byte of the first chunk", func(f *forge) {
			f.late = func(b []byte) { b[magicSize] ^= 1 }
		}},
		{"chunks-unverified", "digest", "a changed byte that s2 would refuse", func(f *forge) {
			f.late = func(b []byte) { b[magicSize+5] ^= 0x80 }
		}},
		{"chunks-s2length", "format", "s2 that gives fewer bytes than the row says", last(CodecS2, s2.Encode(nil, text[:100]))},
		{"chunks-s2bomb", "format", "s2 that says 4 GiB", last(CodecS2, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})},
		{"chunks-s2bad", "format", "s2 that breaks off", last(CodecS2, s2.Encode(nil, text)[:20])},
		{"chunks-zstdlength", "format", "zstd that gives fewer bytes than the row says", last(CodecZstd, zstdOf(t, text[:100]))},
		{"chunks-zstdbomb", "format", "zstd that gives 1 MiB", last(CodecZstd, bomb)},
		{"chunks-zstdbad", "format", "no zstd at all", last(CodecZstd, []byte("no zstd"))},
	}
}
