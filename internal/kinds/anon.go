package kinds

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type anonRecord struct {
	area
	GrowsDown bool `cbor:"6,keyasint,omitempty"` // MAP_GROWSDOWN
	Droppable bool `cbor:"7,keyasint,omitempty"` // MAP_DROPPABLE
	// Bare: it is accounted although it can't be written and has no pages,
	// like the guard page of a thread's stack, which was writable once.
	Bare bool `cbor:"12,keyasint,omitempty"`
}

// mapDroppable is MAP_DROPPABLE (asm-generic/mman.h, Linux 6.11), a type of
// mapping like MAP_PRIVATE.
const mapDroppable = 0x08

// Anon claims private anonymous memory: heap, stacks, reservations. Its
// pages are the engine's. Droppable memory comes back empty, which its owner
// must expect at any time: it is where getrandom(2) of the vdso keeps its
// state, which must not exist twice.
func Anon() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, anonRecord]{
		Name:   "anon",
		At:     plan.Mapping,
		Claims: true,
		Match:  maps(mapAnon),
		Dump:   dumpAnon,
		Check:  anonRecord.check,
		Plan:   anonRecord.plan,
	})
}

func dumpAnon(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (anonRecord, error) {
	r := anonRecord{
		area:      areaOf(&m.VMA),
		GrowsDown: m.VMA.Flags.Has(abi.VMFlagGrowsDown),
		Droppable: m.VMA.Flags.Has(abi.VMFlagDroppable),
	}
	r.Fill = r.Fill && !r.Droppable
	r.NoReserve = r.NoReserve && !r.Droppable // implied
	r.Bare = r.Fill && m.VMA.Anonymous+m.VMA.Swap == 0
	return r, refuseFlags(&m.VMA, flagsOfAnon)
}

func (r anonRecord) check() error {
	if r.Droppable && (r.Fill || r.GrowsDown || r.NoReserve) {
		return errors.New("droppable memory with properties of other memory")
	}
	if r.Bare && !r.Fill {
		return errors.New("accounted for what it never could have been")
	}
	return r.area.check()
}

func (r anonRecord) plan(h *kind.Host) []plan.Step {
	flags, text := unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, "anonymous memory"
	switch {
	case r.Droppable:
		flags, text = mapDroppable|unix.MAP_ANONYMOUS, "droppable memory"
	case r.GrowsDown: // without MAP_STACK, which means MADV_NOHUGEPAGE since Linux 6.7
		flags, text = flags|unix.MAP_GROWSDOWN, "a stack"
	}
	steps := r.steps(h, text, nil, r.mmap(h, flags, plan.Int(-1), 0))
	if r.Bare {
		protect := &steps[len(steps)-1]
		protect.Ops = append(asOps(r.touch(h)), protect.Ops...)
	}
	return steps
}

// touch has the kernel prepare the memory for pages (anon_vma), without
// leaving one: what is unprepared when its protection is taken away is no
// longer accounted (mprotect_fixup in mm/mprotect.c).
func (r anonRecord) touch(h *kind.Host) []plan.Call {
	first := r.area
	first.End = first.Start + pageSize
	return []plan.Call{
		first.call(h, unix.SYS_MADVISE, plan.Int(unix.MADV_POPULATE_WRITE)),
		first.call(h, unix.SYS_MADVISE, plan.Int(unix.MADV_DONTNEED)),
	}
}
