package abi

import "encoding/binary"

// Flock is struct flock of x86-64 (fcntl_locking(2)).
type Flock struct {
	Type   int16 // F_RDLCK 0, F_WRLCK 1, F_UNLCK 2
	Whence int16
	Start  int64
	Len    int64 // 0: to the end of the file
	PID    int32
}

// SizeofFlock is the size of struct flock.
const SizeofFlock = 32

// Encode gives the 32 bytes of the struct.
func (f Flock) Encode() []byte {
	b := make([]byte, SizeofFlock)
	binary.LittleEndian.PutUint16(b, uint16(f.Type))
	binary.LittleEndian.PutUint16(b[2:], uint16(f.Whence))
	binary.LittleEndian.PutUint64(b[8:], uint64(f.Start))
	binary.LittleEndian.PutUint64(b[16:], uint64(f.Len))
	binary.LittleEndian.PutUint32(b[24:], uint32(f.PID))
	return b
}

// DecodeFlock reads the first 32 bytes of b.
func DecodeFlock(b []byte) Flock {
	return Flock{
		int16(binary.LittleEndian.Uint16(b)), int16(binary.LittleEndian.Uint16(b[2:])),
		word(b, 1), word(b, 2), int32(half(b, 6)),
	}
}
