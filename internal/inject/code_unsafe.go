package inject

import (
	"bytes"
	"unsafe"
)

// mark ends every piece in interp_amd64.s.
const mark = "ckpt.end"

// maxPiece is more than the longest piece.
const maxPiece = 1024

// pieceText is the machine code of a piece, read from the tool's own text.
func pieceText(piece int) []byte {
	addr := codeAddr(piece)
	text := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), maxPiece)
	n := bytes.Index(text, []byte(mark))
	if n < 0 {
		panic("inject: a piece of code has no end mark")
	}
	return text[:n:n] // it is our own text: an append must copy
}
