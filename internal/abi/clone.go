package abi

import "encoding/binary"

// CloneArgs are the arguments of clone3(2) (struct clone_args, linux/sched.h).
// Pointers are addresses in the caller.
type CloneArgs struct {
	Flags      uint64
	PidFD      uint64
	ChildTID   uint64
	ParentTID  uint64
	ExitSignal uint64
	Stack      uint64
	StackSize  uint64
	TLS        uint64
	SetTID     uint64
	SetTIDSize uint64
	Cgroup     uint64
}

// SizeofCloneArgs is the size argument of clone3 (CLONE_ARGS_SIZE_VER2).
const SizeofCloneArgs = 88

// Offsets of fields that hold pointers, for who fills them in later.
const (
	CloneArgsChildTID  = 16
	CloneArgsParentTID = 24
	CloneArgsSetTID    = 64
)

// Encode gives the bytes that clone3 reads.
func (c *CloneArgs) Encode() []byte {
	b := make([]byte, 0, SizeofCloneArgs)
	for _, v := range []uint64{
		c.Flags, c.PidFD, c.ChildTID, c.ParentTID, c.ExitSignal, c.Stack, c.StackSize, c.TLS,
		c.SetTID, c.SetTIDSize, c.Cgroup,
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
