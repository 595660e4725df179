package abi

// MMMap is struct prctl_mm_map (linux/prctl.h), the layout of an address
// space that PR_SET_MM_MAP sets (PR_SET_MM(2const)).
type MMMap struct {
	StartCode, EndCode uint64
	StartData, EndData uint64
	StartBrk, Brk      uint64
	StartStack         uint64
	ArgStart, ArgEnd   uint64
	EnvStart, EnvEnd   uint64
	Auxv               uint64 // address of the vector to copy; 0 keeps the old one
	AuxvSize           uint32 // bytes, at most 2*AT_VECTOR_SIZE words
	ExeFD              uint32 // NoExeFD keeps the old link
}

// Sizes and places in struct prctl_mm_map.
const (
	SizeofMMMap   = 104
	MMMapAuxv     = 88
	MMMapAuxvSize = 96
	MMMapExeFD    = 100
	NoExeFD       = ^uint32(0)
)

// Encode gives the 104 bytes of the struct.
func (m *MMMap) Encode() []byte {
	b := words(m.StartCode, m.EndCode, m.StartData, m.EndData, m.StartBrk, m.Brk, m.StartStack,
		m.ArgStart, m.ArgEnd, m.EnvStart, m.EnvEnd, m.Auxv)
	return append32(b, m.AuxvSize, m.ExeFD)
}

// SchedAttr is struct sched_attr (sched_setattr(2)). The size of its first
// version is 48, with the clamps 56.
type SchedAttr struct {
	Policy   uint32
	Flags    uint64
	Nice     int32
	Priority uint32
	Runtime  uint64 // nanoseconds; for SCHED_OTHER the slice
	Deadline uint64
	Period   uint64
	UtilMin  uint32
	UtilMax  uint32
}

// SizeofSchedAttr is SCHED_ATTR_SIZE_VER1.
const SizeofSchedAttr = 56

// Encode gives the 56 bytes of the struct.
func (a *SchedAttr) Encode() []byte {
	b := append32(nil, SizeofSchedAttr, a.Policy)
	b = append(b, words(a.Flags)...)
	b = append32(b, uint32(a.Nice), a.Priority)
	b = append(b, words(a.Runtime, a.Deadline, a.Period)...)
	return append32(b, a.UtilMin, a.UtilMax)
}

// DecodeSchedAttr reads what sched_getattr gave for a size of 56.
func DecodeSchedAttr(b []byte) (a SchedAttr, err error) {
	if len(b) < SizeofSchedAttr {
		return a, syntax("sched_attr", b, "short struct")
	}
	return SchedAttr{
		Policy: half(b, 1), Flags: uint64(word(b, 1)), Nice: int32(half(b, 4)), Priority: half(b, 5),
		Runtime: uint64(word(b, 3)), Deadline: uint64(word(b, 4)), Period: uint64(word(b, 5)),
		UtilMin: half(b, 12), UtilMax: half(b, 13),
	}, nil
}

// RSeqConfig is struct ptrace_rseq_configuration (linux/ptrace.h): what a
// thread told rseq(2). Addr is 0 without a registration.
type RSeqConfig struct {
	Addr      uint64
	Size      uint32
	Signature uint32
	Flags     uint32
}

// Places in struct rseq (linux/rseq.h) and flags of rseq(2).
const (
	RSeqCSOffset       = 8 // the pointer to struct rseq_cs
	SizeofRSeq         = 32
	RSeqFlagUnregister = 1
)

// RSeqCS is struct rseq_cs: a critical section from Start on, Length bytes
// long, that is left for Abort.
type RSeqCS struct {
	Version, Flags       uint32
	Start, Length, Abort uint64
}

// SizeofRSeqCS is the size of struct rseq_cs.
const SizeofRSeqCS = 32

// DecodeRSeqCS reads the first 32 bytes of b.
func DecodeRSeqCS(b []byte) RSeqCS {
	return RSeqCS{half(b, 0), half(b, 1), uint64(word(b, 1)), uint64(word(b, 2)), uint64(word(b, 3))}
}

// UserDispatch is struct ptrace_sud_config (linux/ptrace.h): syscall user
// dispatch (PR_SET_SYSCALL_USER_DISPATCH(2const)). Mode 0 is off.
type UserDispatch struct{ Mode, Selector, Offset, Len uint64 }

// RobustList is what get_robust_list(2) gives: the head's address and size.
type RobustList struct{ Head, Len uint64 }

// SizeofRobustListHead is the size of struct robust_list_head (linux/futex.h),
// the only one that set_robust_list(2) takes.
const SizeofRobustListHead = 24

// UserDesc is struct user_desc (asm/ldt.h) with its bit-field as Flags.
type UserDesc struct{ Entry, Base, Limit, Flags uint32 }

// Encode gives the 16 bytes of the struct.
func (d UserDesc) Encode() []byte { return append32(nil, d.Entry, d.Base, d.Limit, d.Flags) }

// DecodeUserDesc reads the first 16 bytes of b.
func DecodeUserDesc(b []byte) UserDesc {
	return UserDesc{half(b, 0), half(b, 1), half(b, 2), half(b, 3)}
}

// FOwnerEx is struct f_owner_ex (F_GETOWN_EX in F_GETOWN(2const)).
type FOwnerEx struct {
	Type int32 // F_OWNER_TID 0, F_OWNER_PID 1, F_OWNER_PGRP 2
	PID  int32
}

// Sizes and places of small structs.
const (
	SizeofFOwnerEx = 8
	FOwnerExPID    = 4
	SizeofUserDesc = 16
	SizeofOpenHow  = 24
)

// Encode gives the 8 bytes of the struct.
func (o FOwnerEx) Encode() []byte { return append32(nil, o.Type, o.PID) }

// DecodeFOwnerEx reads the first 8 bytes of b.
func DecodeFOwnerEx(b []byte) FOwnerEx { return FOwnerEx{int32(half(b, 0)), int32(half(b, 1))} }

// OpenHow is struct open_how (openat2(2)).
type OpenHow struct{ Flags, Mode, Resolve uint64 }

// Encode gives the 24 bytes of the struct.
func (h OpenHow) Encode() []byte { return words(h.Flags, h.Mode, h.Resolve) }
