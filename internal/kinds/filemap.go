package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type filemapRecord struct {
	area
	Inode  kind.InodeRef `cbor:"6,keyasint"`
	Offset uint64        `cbor:"7,keyasint,omitempty"` // bytes
	Shared bool          `cbor:"8,keyasint,omitempty"`
	Write  bool          `cbor:"9,keyasint,omitempty"`  // shared, and the file was open for writing
	Huge   bool          `cbor:"10,keyasint,omitempty"` // of huge pages
}

// Filemap claims mappings of inodes, private and shared: files, memfds,
// shared anonymous memory, huge pages. What the inode is, and its contents, belong to the
// inode's kind; pages that a private mapping has of its own are the engine's.
func Filemap() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, filemapRecord]{
		Name:   "filemap",
		At:     plan.Mapping,
		Claims: true,
		Match:  maps(mapFile),
		Dump:   dumpFilemap,
		Check:  filemapRecord.check,
		Plan:   filemapRecord.plan,
	})
}

func dumpFilemap(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (filemapRecord, error) {
	flags := flagsOfFile
	huge := m.VMA.Flags.Has(abi.VMFlagHugeTLB)
	if huge {
		flags = flagsOfHuge
	}
	return filemapRecord{
		area:   areaOf(&m.VMA),
		Inode:  m.Inode.Ref(),
		Offset: m.VMA.Offset,
		Shared: m.VMA.Shared,
		Write:  m.VMA.Shared && m.VMA.Flags.Has(abi.VMFlagMayWrite),
		Huge:   huge,
	}, refuseFlags(&m.VMA, flags)
}

func (r filemapRecord) check() error {
	switch {
	case r.Inode == 0:
		return errors.New("no inode")
	case r.Offset%pageSize != 0 || r.Offset > 1<<63-r.len():
		return fmt.Errorf("offset %#x", r.Offset)
	case r.Fill && r.Shared:
		return errors.New("pages of its own in a shared mapping")
	case r.Write && !r.Shared, r.Shared && !r.Write && r.Prot&unix.PROT_WRITE != 0:
		return errors.New("writable in another way than it is shared")
	}
	return r.area.check()
}

// plan opens the file in the mode that the mapping shows: a shared one keeps
// for ever whether it could be made writable (VM_MAYWRITE, mmap(2) EACCES).
func (r filemapRecord) plan(h *kind.Host) []plan.Step {
	slot, mode, flags := kind.SlotRead, uint32(unix.O_RDONLY), unix.MAP_PRIVATE
	words := "private"
	if r.Shared {
		flags, words = unix.MAP_SHARED, "shared"
	}
	if r.Write {
		slot, mode = kind.SlotWrite, unix.O_RDWR
	}
	needs := openNeeds(r.Inode, mode)
	if r.Huge {
		needs = append(needs, plan.Need{Demand: "limit:hugetlb", Why: fmt.Sprintf("takes huge pages for %d bytes", r.len()), Amount: r.len()})
	}
	fd := r.Inode.Slot(slot)
	return r.steps(h, "it, "+words+",", needs,
		reopen(r.Inode, mode, fd), r.mmap(h, flags, plan.FD(fd), r.Offset))
}
