package abi

// CapVersion3 is _LINUX_CAPABILITY_VERSION_3 (capget(2)): 64-bit sets.
const CapVersion3 = 0x20080522

// Sizes of the structs of capset(2).
const (
	SizeofCapHeader = 8
	SizeofCapData   = 24
)

// CapHeader is struct __user_cap_header_struct for thread tid, 0 for the
// caller, encoded.
func CapHeader(tid int32) []byte { return append32(nil, uint32(CapVersion3), uint32(tid)) }

// CapData is struct __user_cap_data_struct[2], encoded.
func CapData(effective, permitted, inheritable CapSet) []byte {
	e, p, i := effective, permitted, inheritable
	return append32(nil, uint32(e), uint32(p), uint32(i), uint32(e>>32), uint32(p>>32), uint32(i>>32))
}

// EncodeGroups gives the list that setgroups(2) takes.
func EncodeGroups(groups []uint32) []byte { return append32(nil, groups...) }
