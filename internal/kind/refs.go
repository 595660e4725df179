package kind

import (
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// PID is a process or thread id as recorded, in the dumper's PID namespace.
// It names a task of the tree if the image's PID list holds it, else a
// foreign process.
type PID int32

// The references that a record may hold. Zero refers to nothing. They are
// distinct types so that one walk can check each against the image.
type (
	FileRef  uint32 // an open file description
	InodeRef uint32 // what descriptions and mappings share
	TaskRef  uint32 // a process
	BlobRef  uint32 // bulk data in the image's chunks
)

// Main is the plan's name for the descriptor of the description.
func (r FileRef) Main() plan.Ref { return plan.Ref{Site: plan.OpenFile, ID: uint32(r)} }

// Main is the plan's name for the descriptor by which the object is held.
func (r InodeRef) Main() plan.Ref { return plan.Ref{Site: plan.Inode, ID: uint32(r)} }

// Slot is the plan's name for another result that belongs to the object.
func (r InodeRef) Slot(n uint8) plan.Ref { return plan.Ref{Site: plan.Inode, ID: uint32(r), Slot: n} }

// Ranged is the record of a mapping that knows where it lies. Only in such
// mappings can the engines give back pages that processes share copy on write.
type Ranged interface {
	Range() (start, end uint64)
}

// Located is the record of a file that stays where it is: which file that was,
// and whose.
type Located interface {
	Location() (dev, ino uint64, owner credmap.SeenUID)
}

// Executes is the record of an address space that knows which file it executes.
type Executes interface {
	Executable() InodeRef
}

// KeepsTID is the record of a thread that knows where the C library may have
// noted the thread's number. 0: nowhere.
type KeepsTID interface {
	TIDAt() uint64
}

// KeepsRobustList is the record of a thread that knows where the list of the
// robust futexes begins that it holds (get_robust_list(2)). 0: it has none.
type KeepsRobustList interface {
	RobustListAt() uint64
}

// Titled is the record of an inode that can say what messages are to call it,
// in printable characters.
type Titled interface {
	Title() string
}

// Slots of an inode that several kinds use. A mapping asks for SlotRead or
// SlotWrite; whoever emits the opening call first makes it, and the engine
// drops calls that would make the same result again.
const (
	SlotMain  uint8 = iota // the object: O_PATH for files, any descriptor for others
	SlotRead               // opened O_RDONLY
	SlotWrite              // opened O_RDWR
	SlotOther              // kinds number their own from here
)
