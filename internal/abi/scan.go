package abi

import "bytes"

// scan stores the whole of val in dst and says whether it is a number of that
// base and width.
func scan[T ~uint32 | ~uint64](val []byte, base uint64, dst *T) bool {
	n, ok := parseUint(val, base)
	*dst = T(n)
	return ok && uint64(*dst) == n
}

// scanKB stores "NNN kB" as bytes.
func scanKB(val []byte, dst *uint64) bool {
	n, ok := parseUint(bytes.TrimSuffix(val, []byte(" kB")), 10)
	*dst = n << 10
	return ok && bytes.HasSuffix(val, []byte(" kB"))
}

func scanInt32(val []byte, dst *int32) bool {
	n, ok := parseInt(val)
	*dst = int32(n)
	return ok && int64(*dst) == n
}

func scanInt32s(val []byte, dst *[]int32) bool {
	*dst = nil
	for _, f := range fields(val) {
		var n int32
		if !scanInt32(f, &n) {
			return false
		}
		*dst = append(*dst, n)
	}
	return true
}

func scanIDs(val []byte, dst *IDs) bool {
	var room [4][]byte
	f := appendFields(room[:0], val)
	return len(f) == 4 && scan(f[0], 10, &dst.Real) && scan(f[1], 10, &dst.Effective) &&
		scan(f[2], 10, &dst.Saved) && scan(f[3], 10, &dst.FS)
}

func scanGroups(val []byte, dst *[]uint32) bool {
	*dst = nil
	for _, f := range fields(val) {
		var n uint32
		if !scan(f, 10, &n) {
			return false
		}
		*dst = append(*dst, n)
	}
	return true
}
