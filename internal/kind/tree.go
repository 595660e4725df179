package kind

import (
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// Tree is the engines' own part of an image: who is whose child, which
// thread has which registers, which descriptor leads where.
type Tree struct {
	Tasks    []TaskNode    `cbor:"1,keyasint"` // parents before their children; the root first
	MMs      []MMNode      `cbor:"2,keyasint"`
	FDTables []FDTableNode `cbor:"3,keyasint"`
	XState   BlobRef       `cbor:"4,keyasint"` // extended registers, thread after thread
}

// State is what a process was doing when it was frozen.
type State uint8

// The states of a process.
const (
	Running State = iota
	Stopped       // by a signal (group stop); StopSignal says which
	Zombie        // dead and not waited for; Exit holds its wait status
	Vacant        // a dead leader whose session or process group lives on
)

// TaskNode is a process. References are numbers of the sites below it;
// a zombie has none of them.
type TaskNode struct {
	ID         uint32       `cbor:"1,keyasint"`
	Parent     TaskRef      `cbor:"2,keyasint,omitempty"` // 0: the restarter
	PID        PID          `cbor:"3,keyasint"`
	Group      PID          `cbor:"4,keyasint"` // 0: outside the tree
	Session    PID          `cbor:"5,keyasint"` // 0: outside the tree
	State      State        `cbor:"6,keyasint,omitempty"`
	StopSignal uint8        `cbor:"7,keyasint,omitempty"`
	Exit       uint32       `cbor:"8,keyasint,omitempty"`
	Comm       []byte       `cbor:"9,keyasint"` // any bytes but NUL: the kernel cuts names anywhere
	MM         uint32       `cbor:"10,keyasint,omitempty"`
	FDTable    uint32       `cbor:"11,keyasint,omitempty"`
	FS         uint32       `cbor:"12,keyasint,omitempty"`
	SigHand    uint32       `cbor:"13,keyasint,omitempty"`
	Threads    []ThreadNode `cbor:"14,keyasint,omitempty"` // the leader first
	ExitSignal uint8        `cbor:"15,keyasint,omitempty"` // sent to the parent at exit; clone(2)
}

// Ref names the process in a plan.
func (t *TaskNode) Ref() plan.Ref { return plan.Ref{Site: plan.Task, ID: t.ID} }

// ThreadNode is a thread. Regs are the 27 words of user_regs_struct
// (sys/user.h); XState is its size and place in the tree's XState blob.
type ThreadNode struct {
	ID        uint32   `cbor:"1,keyasint"`
	TID       PID      `cbor:"2,keyasint"`
	Regs      []uint64 `cbor:"3,keyasint"`
	XStateOff uint64   `cbor:"4,keyasint"`
	XStateLen uint32   `cbor:"5,keyasint"`
	Mask      uint64   `cbor:"6,keyasint"` // blocked signals, bit n-1 for signal n
}

// Ref names the thread in a plan.
func (t *ThreadNode) Ref() plan.Ref { return plan.Ref{Site: plan.Thread, ID: t.ID} }

// MMNode is an address space: its mappings, which are numbered in a row, and
// the contents of its private pages, a blob whose offsets are virtual
// addresses.
type MMNode struct {
	ID       uint32  `cbor:"1,keyasint"`
	Pages    BlobRef `cbor:"2,keyasint,omitempty"`
	First    uint32  `cbor:"3,keyasint,omitempty"` // number of the first mapping
	Mappings uint32  `cbor:"4,keyasint,omitempty"` // how many
	// Used are the address ranges that the mappings occupy, so that rstr can
	// choose a place of its own that is free in every address space.
	Used image.Extents `cbor:"5,keyasint,omitempty"`
	// Lent are pages that must be there before other processes are cloned from
	// this one, because these share them, copy on write. What Pages has at the
	// same addresses comes later: the process wrote it after it had forked.
	Lent BlobRef `cbor:"6,keyasint,omitempty"`
	// Shared are the pages that this address space has from From, the one that
	// it is cloned from: of those that From shares or lends itself. They lie in
	// mappings that both have, with the same records.
	From   uint32        `cbor:"7,keyasint,omitempty"`
	Shared image.Extents `cbor:"8,keyasint,omitempty"`
}

// FDTableNode is a table of descriptors, sorted by number.
type FDTableNode struct {
	ID  uint32   `cbor:"1,keyasint"`
	FDs []FDNode `cbor:"2,keyasint,omitempty"`
}

// FDNode is one descriptor.
type FDNode struct {
	Num     int32   `cbor:"1,keyasint"`
	File    FileRef `cbor:"2,keyasint"`
	CloExec bool    `cbor:"3,keyasint,omitempty"`
}
