package kernelio

import "encoding/binary"

// Arg is an argument of Syscall: the number Val, or, when Buf is not nil, a
// pointer to Buf's first byte.
type Arg struct {
	Val    uint64
	Buf    []byte
	Relocs []Reloc // stored into Buf before the call
}

// Reloc stores Arg's value, Size bytes (4 or 8) little-endian, at Off of the
// buffer it belongs to: a number, or a pointer to another buffer.
type Reloc struct {
	Off, Size int
	Arg       Arg
}

// Int is a number as an argument.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](v T) Arg {
	return Arg{Val: uint64(v)}
}

// Buf is a pointer to b itself, so that what the kernel writes there can be
// read afterwards. An empty b is a null pointer.
func Buf(b []byte, relocs ...Reloc) Arg {
	if len(b) == 0 {
		return Arg{}
	}
	return Arg{Buf: b, Relocs: relocs}
}

// Str is a pointer to s with a final NUL.
func Str(s string) Arg { return Arg{Buf: append([]byte(s), 0)} }

// store writes v at the place of the Reloc.
func (r Reloc) store(b []byte, v uint64) {
	if r.Size == 4 {
		binary.LittleEndian.PutUint32(b[r.Off:], uint32(v))
		return
	}
	binary.LittleEndian.PutUint64(b[r.Off:], v)
}
