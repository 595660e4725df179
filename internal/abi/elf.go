package abi

import "encoding/binary"

// Of an ELF file and its program headers (elf(5)).
const (
	elfHeaderSize  = 64
	elfProgramSize = 56
	elfExec        = 2  // ET_EXEC
	elfAMD64       = 62 // EM_X86_64
	elfLoad        = 1  // PT_LOAD
	elfStack       = 0x6474e551
	elfX, elfW     = 1, 2
	elfR           = 4
)

// StubELF is a static executable with nothing but text, mapped at base, and
// dataSize zero bytes after the text's pages. It starts with the first byte of
// text, which lies in memory at base+StubTextOffset. Base and dataSize are
// multiples of the page size.
func StubELF(base uint64, text []byte, dataSize uint64) []byte {
	b := elfHeader(base+StubTextOffset, 3)
	size := uint64(StubTextOffset + len(text))
	b = append(b, elfSegment(elfLoad, elfR|elfX, base, size, size)...)
	b = append(b, elfSegment(elfLoad, elfR|elfW, base+StubTextPages(text), 0, dataSize)...)
	b = append(b, elfSegment(elfStack, elfR|elfW, 0, 0, 0)...)
	return append(b, text...)
}

// StubTextOffset is where the text begins, after the headers.
const StubTextOffset = elfHeaderSize + 3*elfProgramSize

// StubTextPages is the size of the text's pages, at which the data begins.
func StubTextPages(text []byte) uint64 {
	return (uint64(StubTextOffset+len(text)) + 4095) &^ 4095
}

func elfHeader(entry uint64, segments uint16) []byte {
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, elfExec)
	b = le.AppendUint16(b, elfAMD64)
	b = le.AppendUint32(b, 1)
	b = append(b, words(entry, elfHeaderSize, 0)...) // no sections
	b = append32(b, uint32(0))
	for _, v := range []uint16{elfHeaderSize, elfProgramSize, segments, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	return b
}

func elfSegment(kind, flags uint32, addr, fileSize, memSize uint64) []byte {
	return append(append32(nil, kind, flags), words(0, addr, addr, fileSize, memSize, 4096)...)
}
