package abi

import "encoding/binary"

// Timespec is struct __kernel_timespec (linux/time_types.h).
type Timespec struct{ Sec, Nsec int64 }

// Timeval is struct timeval (linux/time.h).
type Timeval struct{ Sec, Usec int64 }

// Itimerspec is struct __kernel_itimerspec: interval first.
type Itimerspec struct{ Interval, Value Timespec }

// Itimerval is struct itimerval: interval first.
type Itimerval struct{ Interval, Value Timeval }

// Sizes of the encoded structs.
const (
	SizeofTimespec   = 16
	SizeofTimeval    = 16
	SizeofItimerspec = 32
	SizeofItimerval  = 32
)

// IsZero says whether the time is 0, which disarms a timer.
func (t Timespec) IsZero() bool { return t == Timespec{} }

// Encode gives the 16 bytes of the struct.
func (t Timespec) Encode() []byte { return words(t.Sec, t.Nsec) }

// Encode gives the 16 bytes of the struct.
func (t Timeval) Encode() []byte { return words(t.Sec, t.Usec) }

// Encode gives the 32 bytes of the struct.
func (t Itimerspec) Encode() []byte {
	return words(t.Interval.Sec, t.Interval.Nsec, t.Value.Sec, t.Value.Nsec)
}

// Encode gives the 32 bytes of the struct.
func (t Itimerval) Encode() []byte {
	return words(t.Interval.Sec, t.Interval.Usec, t.Value.Sec, t.Value.Usec)
}

// DecodeTimespec reads the first 16 bytes of b.
func DecodeTimespec(b []byte) Timespec { return Timespec{word(b, 0), word(b, 1)} }

// DecodeItimerspec reads the first 32 bytes of b.
func DecodeItimerspec(b []byte) Itimerspec {
	return Itimerspec{DecodeTimespec(b), DecodeTimespec(b[16:])}
}

// DecodeItimerval reads the first 32 bytes of b.
func DecodeItimerval(b []byte) Itimerval {
	return Itimerval{Timeval{word(b, 0), word(b, 1)}, Timeval{word(b, 2), word(b, 3)}}
}

func words[T ~int | ~int64 | ~uint64](v ...T) []byte {
	out := make([]byte, 0, 8*len(v))
	for _, w := range v {
		out = binary.LittleEndian.AppendUint64(out, uint64(w))
	}
	return out
}

func word(b []byte, i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }

func append32[T ~int | ~int32 | ~uint32](b []byte, v ...T) []byte {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(w))
	}
	return b
}

// half is the i-th 32-bit word of b.
func half(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
