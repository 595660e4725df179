package abi

import (
	"encoding/binary"
	"math/bits"
)

// SigSet is a kernel sigset_t of 64 signals: bit n-1 is signal n.
type SigSet uint64

// SigSetOf is the set of the given signals (1 to 64).
func SigSetOf(sigs ...int) (s SigSet) {
	for _, n := range sigs {
		s |= 1 << (n - 1)
	}
	return s
}

// Has says whether signal n is in the set.
func (s SigSet) Has(n int) bool { return n >= 1 && n <= 64 && s>>(n-1)&1 != 0 }

// Signals lists the members in ascending order.
func (s SigSet) Signals() []int {
	var out []int
	for v := uint64(s); v != 0; v &= v - 1 {
		out = append(out, bits.TrailingZeros64(v)+1)
	}
	return out
}

// SizeofSigSet is the sigsetsize argument of the rt_sig* calls.
const SizeofSigSet = 8

// Encode gives the bytes that the rt_sig* calls take.
func (s SigSet) Encode() []byte { return binary.LittleEndian.AppendUint64(nil, uint64(s)) }
