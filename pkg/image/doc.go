// Package image is the checkpoint format: one signed stream, written without
// seeking and readable at random from a file. SPEC.md beside this file is the
// normative description; this is the tour for Go callers.
//
//	magic | chunks ... | table segments | manifest | signatures | footer
//
// What binds what: a signature covers the manifest's bytes; the manifest holds
// the SHA-256 of each table segment; a segment's rows hold the SHA-256 of each
// chunk as stored. Offsets are implied or checked, so that no byte of the file is
// free: a changed byte is refused, or changes what the signature covers.
//
// # Writing
//
//	w := image.NewWriter(out, image.Options{})
//	heap := w.Start(memory, extents) // returns at once; workers read behind it
//	ref := heap.Index()              // what a record holds to name this blob
//	_, err := heap.Wait()            // the source may change now
//	err = w.Close(&image.Manifest{Header: h, Records: rs}, sign)
//
// After an error nothing but [Writer.Fail] is of use: it ends the stream with
// the reason, which a reader reports as [ErrFailedDump].
//
// # Reading
//
//	r, err := image.Open(file, size)  // envelope only, no CBOR yet
//	check(r.ManifestBytes(), r.Signatures())
//	m, err := r.Decode()              // strict, bounded
//	err = r.EachRun(m.Blobs[ref], 0, place)
//
// A chunk is read, hashed and only then decompressed, in memory that nobody
// else writes; unverified bytes reach neither a decompressor nor the caller.
// Everything read from an image is a claim of whoever signed it: quote strings
// before printing them.
//
// # Records
//
// The package does not know what a record's body means. Kinds encode and decode
// bodies with [Marshal] and [Unmarshal], which accept exactly one encoding of
// each value.
package image
