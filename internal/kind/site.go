package kind

import (
	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// Proc reads files below one directory of /proc: /proc/PID or
// /proc/PID/task/TID. The snapshot is taken once and kept while the tree is
// frozen.
type Proc interface {
	Read(name string) ([]byte, error) // name: "status", "fdinfo/3"
	Link(name string) (string, error) // readlink: "exe", "cwd"
}

// Doer executes a call in the tool and gives back its result. In is ignored;
// FD(site's own ref) is the descriptor that the tool holds of it. A failed
// call is an error that wraps its errno.
type Doer func(plan.Call) (plan.Result, error)

// TaskSite is a process: a thread group with at least one live thread, not a
// zombie (those are the engine's).
type TaskSite struct {
	ID      uint32
	PID     PID
	Comm    string
	Proc    Proc
	Status  *abi.Status
	Stat    *abi.Stat
	Threads []*ThreadSite // the leader first
	MM      *MMSite
	FDTable *FDTableSite
	FS      *FSSite
	SigHand *SigHandSite
	Do      Doer // in the tool, for calls that name the process by its PID
}

// ThreadSite is one thread.
type ThreadSite struct {
	ID      uint32
	TID     PID
	Task    *TaskSite
	Leader  bool
	Proc    Proc // /proc/PID/task/TID
	Status  *abi.Status
	Stat    *abi.Stat
	Pending []abi.Siginfo // the thread's own queue (PTRACE_PEEKSIGINFO)
	Shared  []abi.Siginfo // the process's queue; only on the leader
	RSeq    abi.RSeqConfig
	IOPorts bool // it may use I/O ports (ioperm(2))
	Do      Doer
}

// MMSite is an address space. Task is one of those that use it.
type MMSite struct {
	ID       uint32
	Task     *TaskSite
	Mappings []*MappingSite // by address
	Exe      *InodeSite     // what /proc/PID/exe leads to
	Do       Doer
}

// FDTableSite is a table of descriptors; its entries are the engine's.
type FDTableSite struct {
	ID   uint32
	Task *TaskSite
	FDs  []FDNode
	Do   Doer
}

// FSSite is the file system information that CLONE_FS shares: umask,
// working directory, root.
type FSSite struct {
	ID   uint32
	Task *TaskSite
	Cwd  *InodeSite
	Root *InodeSite // nil: the tool's own
	Do   Doer
}

// SigHandSite is a table of signal actions.
type SigHandSite struct {
	ID   uint32
	Task *TaskSite
}

// FileSite is an open file description (open(2)), of which the tool holds a
// descriptor. Task and Num are one place where the tree has it.
type FileSite struct {
	ID      uint32
	Task    *TaskSite
	Num     int
	Holders []Holder
	Link    string // readlink of /proc/PID/fd/N
	Info    *abi.FDInfo
	Stat    Stat
	Inode   *InodeSite // nil for the anonymous inode (eventfd, epoll, ...)
	Outside string     // a process above the tree that has the pipe, socket or description too
	Do      Doer
}

// Ref is the reference by which records name the description.
func (f *FileSite) Ref() FileRef { return FileRef(f.ID) }

// Holder is one entry of a descriptor table.
type Holder struct {
	Table *FDTableSite
	Num   int
}

// InodeSite is what descriptions and mappings share: a file, a pipe, a
// memfd, a piece of shared memory. The tool holds a descriptor of it, of any
// mode, perhaps O_PATH, unless it is Unheld.
type InodeSite struct {
	ID       uint32
	Task     *TaskSite // one of its users
	Path     string    // as the kernel shows it, without " (deleted)"
	Deleted  bool
	Stat     Stat
	Files    []*FileSite
	Mappings []*MappingSite
	Do       Doer
	// Unheld: nobody who may be asked has a descriptor of it. What is known of
	// it is what its mappings show: Stat has its device, inode and filesystem,
	// a size in whole pages, and for the rest what such an inode usually has.
	Unheld bool
	Route  MapRoute
	// Outside names a process above the tree that shares the memory.
	Outside string
}

// MapRoute is the way by which the inode behind a mapping was found.
type MapRoute uint8

// The ways, in the order in which they are tried.
const (
	MapNone   MapRoute = iota // nothing maps it
	MapLink                   // the link in map_files, which takes a capability
	MapOpen                   // a descriptor that the tree has of it
	MapPath                   // its path, which leads to the same device and inode
	MapMemory                 // none: its contents are what the tree has mapped of it
)

// Ref is the reference by which records name the inode.
func (i *InodeSite) Ref() InodeRef { return InodeRef(i.ID) }

// MappingSite is one VMA, with its line of maps and its block of smaps.
type MappingSite struct {
	ID     uint32
	MM     *MMSite
	VMA    abi.SmapsVMA
	Inode  *InodeSite  // nil for anonymous and special mappings
	Guards [][2]uint64 // address ranges under MADV_GUARD_INSTALL
}

// NamespaceSite is a namespace in which a task of the tree lives.
type NamespaceSite struct {
	ID   uint32
	Type string // the name in /proc/PID/ns
	Ino  uint64
	Own  bool // the tool lives in it as well
	Task *TaskSite
}

// Stat holds what statx(2) and fstatfs(2) say of a file.
type Stat struct {
	Dev, Ino uint64
	Mode     uint32 // type and permissions, as in st_mode
	Nlink    uint64
	UID      credmap.UID
	GID      credmap.GID
	Size     int64
	Mtime    int64 // nanoseconds since the epoch
	Ctime    int64
	Rdev     uint64
	FSType   uint32 // f_type, see linux/magic.h
}

// Format is the type part of Mode (S_IFMT).
func (s Stat) Format() uint32 { return s.Mode & 0o170000 }
