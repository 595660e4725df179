package inject

import (
	"bytes"
	"encoding/binary"
)

// The end of a Space's page of code says what it is, so that one that was left
// behind can be told from the target's own memory: a mark, where the Space
// begins and where it ends.
const (
	leftMark = "ckpt was here\x00\x00\x00"
	leftSize = len(leftMark) + 16
)

// page is the code of a Space with its end.
func (s *Space) page() []byte {
	b := append(make([]byte, 0, pageSize), s.tr.code.text...)
	b = append(b[:pageSize-leftSize:pageSize], leftMark...)
	b = binary.LittleEndian.AppendUint64(b, s.lo)
	return binary.LittleEndian.AppendUint64(b, s.hi)
}

// LeftSpace says whether the Space of a dump begins at address lo, and where it
// ends.
func LeftSpace(read func(b []byte, at uint64) (int, error), lo uint64) (hi uint64, ok bool) {
	b := make([]byte, leftSize)
	if n, err := read(b, lo+pageSize-uint64(leftSize)); err != nil || n < len(b) || !bytes.HasPrefix(b, []byte(leftMark)) {
		return 0, false
	}
	le := binary.LittleEndian
	hi = le.Uint64(b[len(leftMark)+8:])
	return hi, le.Uint64(b[len(leftMark):]) == lo && hi > lo+pageSize
}
