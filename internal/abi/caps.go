package abi

// CapSet is a set of capabilities: bit n is capability n (capabilities(7)).
type CapSet uint64

// Has says whether capability n, a unix.CAP_* value, is in the set.
func (c CapSet) Has(n int) bool { return n >= 0 && n < 64 && c>>n&1 != 0 }
