package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type hugeInodeRecord struct {
	Size      uint64       `cbor:"1,keyasint"`
	PageShift uint8        `cbor:"2,keyasint"` // log2 of the page size
	Content   kind.BlobRef `cbor:"3,keyasint,omitempty"`
}

// HugeInode claims what the kernel puts behind anonymous memory of huge pages
// (MAP_HUGETLB), private and shared. As with other shared memory, only a
// mapping makes it and leads to it. Behind private mappings it is empty: their
// pages are the engine's like all private ones.
func HugeInode() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, hugeInodeRecord]{
		Name:   "hugeinode",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeHugeVM),
		Dump:   dumpHugeInode,
		Check:  hugeInodeRecord.check,
		Plan:   hugeInodeRecord.plan,
	})
}

func dumpHugeInode(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (hugeInodeRecord, error) {
	r := hugeInodeRecord{Size: uint64(i.Stat.Size)}
	var err error
	if r.PageShift, err = hugeShift(i); err != nil {
		return r, err
	}
	for _, m := range i.Mappings {
		if m.VMA.Shared {
			r.Content, err = content(d, i)
			break
		}
	}
	return r, err
}

// statfsBytes is struct statfs of a 64-bit machine (asm-generic/statfs.h);
// f_bsize, the size of a page of hugetlbfs, is at 8.
const statfsBytes = 120

// hugeShift is log2 of the size of an inode's huge pages; 0 for other memory.
func hugeShift(i *kind.InodeSite) (uint8, error) {
	if i.Stat.FSType != unix.HUGETLBFS_MAGIC {
		return 0, nil
	}
	for _, m := range i.Mappings {
		return uint8(bits.TrailingZeros64(m.VMA.KernelPageSize)), nil
	}
	r, err := i.Do(plan.Call{Nr: unix.SYS_FSTATFS, Args: []plan.Arg{plan.FD(i.Ref().Main()), plan.Out(statfsBytes)}})
	if err != nil {
		return 0, fmt.Errorf("asking for its page size: %w", err)
	}
	return uint8(bits.TrailingZeros64(binary.LittleEndian.Uint64(r.Out[0][8:]))), nil
}

// goodHugeShift knows what sizes of huge pages there are, from 64 KiB to 16 GiB
// (linux/hugetlb_encode.h).
func goodHugeShift(shift uint8) bool { return shift >= 16 && shift <= 34 }

func (r hugeInodeRecord) check() error {
	if !goodHugeShift(r.PageShift) || r.Size == 0 || r.Size%(1<<r.PageShift) != 0 || r.Size > windowLimit {
		return errors.New("no size of memory of huge pages")
	}
	return nil
}

// plan reserves no pages: the mappings of the tree do that for themselves.
func (r hugeInodeRecord) plan(h *kind.Host) []plan.Step {
	if h.NoMapFiles {
		return append(named(h, r.Size, unix.MFD_HUGETLB|int(r.PageShift)<<unix.MFD_HUGE_SHIFT), fill(h.Self, r.Content)...)
	}
	flags := unix.MAP_NORESERVE | unix.MAP_HUGETLB | int(r.PageShift)<<unix.MAP_HUGE_SHIFT
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  fmt.Sprintf("make memory of huge pages, %d bytes each", uint64(1)<<r.PageShift),
		Needs: []plan.Need{{Demand: "map-files", Why: "anonymous memory of huge pages can be reached by /proc/self/map_files only"}},
		Ops:   asOps(shareMemory(window(h.Self.ID), r.Size, flags, h.Self)),
	}}
	return append(steps, fill(h.Self, r.Content)...)
}
