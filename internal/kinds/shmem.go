package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type shmemRecord struct {
	Size      uint64       `cbor:"1,keyasint"`
	NoReserve bool         `cbor:"2,keyasint,omitempty"` // made with MAP_NORESERVE
	Content   kind.BlobRef `cbor:"3,keyasint,omitempty"`
}

// Shmem claims shared anonymous memory. Only mmap(2) makes it, and only the
// link of a mapping in map_files leads to it (proc_pid_map_files(5)): the tool
// maps it for a moment, opens the link, and unmaps it again.
func Shmem() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, shmemRecord]{
		Name:   "shmem",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeShmem),
		Dump:   dumpShmem,
		Check:  shmemRecord.check,
		Plan:   shmemRecord.plan,
	})
}

func dumpShmem(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (shmemRecord, error) {
	r := shmemRecord{Size: uint64(i.Stat.Size)}
	for _, m := range i.Mappings {
		r.NoReserve = r.NoReserve || m.VMA.Flags.Has(abi.VMFlagNoReserve)
	}
	var err error
	r.Content, err = content(d, i)
	return r, err
}

// The tool's own places for such memory: one of 4096 in a part of the address
// space that neither the kernel nor the Go runtime chooses from unless all
// else is full. Each is 16 GiB after the one before it; what is larger
// reaches into the next, which is free unless it is in use at that moment.
const (
	windowBase  = 0x1000_0000_0000
	windowStep  = 16 << 30
	windowCount = 4096
	windowLimit = 32 << 40
)

func window(id uint32) uint64 { return windowBase + uint64(id%windowCount)*windowStep }

func (r shmemRecord) check() error {
	if r.Size == 0 || r.Size%pageSize != 0 || r.Size > windowLimit {
		return errors.New("no size of shared memory")
	}
	return nil
}

func (r shmemRecord) plan(h *kind.Host) []plan.Step {
	if h.NoMapFiles {
		return append(named(h, r.Size, 0), fill(h.Self, r.Content)...)
	}
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  "make shared memory",
		Needs: []plan.Need{{Demand: "map-files", Why: "shared anonymous memory can be reached by /proc/self/map_files only"}},
		Ops:   asOps(shareMemory(window(h.Self.ID), r.Size, r.flags(), h.Self)),
	}}
	return append(steps, fill(h.Self, r.Content)...)
}

// named makes a memfd in the place of shared memory without a name, which takes
// no right. The only difference is the name that the maps of its processes show.
func named(h *kind.Host, size uint64, flags int) []plan.Step {
	return oneStep(plan.Create, "make shared memory, as a memfd", createMemfd([]byte("shared"), flags, h.Self),
		plan.Call{Nr: unix.SYS_FTRUNCATE, Args: []plan.Arg{plan.FD(h.Self), plan.Int(size)}, Ret: plan.Exactly(0)})
}

func (r shmemRecord) flags() int {
	if r.NoReserve {
		return unix.MAP_NORESERVE
	}
	return 0
}

// shareMemory makes shared anonymous memory, as the descriptor out, by way of
// a mapping at a place in the tool.
func shareMemory(at, size uint64, flags int, out plan.Ref) []plan.Call {
	link := fmt.Sprintf("/proc/self/map_files/%x-%x", at, at+size)
	flags |= unix.MAP_SHARED | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	return []plan.Call{
		{Nr: unix.SYS_MMAP, Args: []plan.Arg{plan.Int(at), plan.Int(size), plan.Int(unix.PROT_READ | unix.PROT_WRITE),
			plan.Int(flags), plan.Int(-1), plan.Int(0)}, Ret: plan.Exactly(int64(at))},
		{Nr: unix.SYS_OPENAT, Args: []plan.Arg{atCwd, plan.Str(link), plan.Int(unix.O_RDWR | unix.O_CLOEXEC)}, Out: out},
		{Nr: unix.SYS_MUNMAP, Args: []plan.Arg{plan.Int(at), plan.Int(size)}, Ret: plan.Exactly(0)},
	}
}
