package kinds

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

const (
	pageSize = 4096
	// lowest is where a process without CAP_SYS_RAWIO may begin to map
	// (vm.mmap_min_addr as distributions set it).
	lowest = 0x10000
	// highest is the end of what a process can map with five-level page
	// tables; with four the kernel refuses what lies above 1<<47.
	highest = 1<<56 - pageSize
)

// span is a range of addresses.
type span struct {
	Start uint64 `cbor:"1,keyasint"`
	End   uint64 `cbor:"2,keyasint"`
}

func spanOf(v *abi.SmapsVMA) span { return span{v.Start, v.End} }

// Range implements kind.Ranged.
func (s span) Range() (start, end uint64) { return s.Start, s.End }

func (s span) len() uint64 { return s.End - s.Start }

func (s span) String() string {
	return strconv.FormatUint(s.Start, 16) + "-" + strconv.FormatUint(s.End, 16)
}

func (s span) check() error {
	if s.Start%pageSize != 0 || s.End%pageSize != 0 || s.Start >= s.End || s.End > highest {
		return fmt.Errorf("no range of pages: %v", s)
	}
	return nil
}

// call is a system call about the range in the address space of h.
func (s span) call(h *kind.Host, nr uintptr, args ...plan.Arg) plan.Call {
	c := inTask(h, nr, append([]plan.Arg{plan.Int(s.Start), plan.Int(s.len())}, args...)...)
	c.Ret = plan.Exactly(0)
	return c
}

// area is what all mappings of memory have in common.
type area struct {
	span
	Prot      uint32 `cbor:"3,keyasint,omitempty"` // PROT_*, as it has to be in the end
	Fill      bool   `cbor:"4,keyasint,omitempty"` // must be writable until its pages are there
	NoReserve bool   `cbor:"5,keyasint,omitempty"` // MAP_NORESERVE
}

// areaOf reads a VMA. A private mapping that can't be written now may hold
// pages from when it could (the RELRO part of a library): it has 'ac' from
// then, or it has pages of its own. It is mapped writable again, so that
// process_vm_writev(2) can fill it and the kernel accounts it as it did.
func areaOf(v *abi.SmapsVMA) area {
	own := v.Flags.Has(abi.VMFlagAccount) || v.Anonymous+v.Swap > 0 ||
		v.Flags.Has(abi.VMFlagHugeTLB) && v.PrivateHugetlb+v.SharedHugetlb > 0 // which are counted apart
	return area{
		span:      spanOf(v),
		Prot:      v.Prot,
		Fill:      own && !v.Shared && v.Prot&unix.PROT_WRITE == 0 && v.Flags.Has(abi.VMFlagMayWrite),
		NoReserve: v.Flags.Has(abi.VMFlagNoReserve),
	}
}

func (a area) check() error {
	switch {
	case a.Prot&^(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC) != 0:
		return fmt.Errorf("protection %#x", a.Prot)
	case a.Fill && a.Prot&unix.PROT_WRITE != 0:
		return fmt.Errorf("writable anyway, and yet to be made so for a while")
	}
	return a.span.check()
}

// firstProt is the protection while the pages are filled; no page is ever
// writable and executable that wasn't before.
func (a area) firstProt() uint32 {
	if a.Fill {
		return a.Prot&^unix.PROT_EXEC | unix.PROT_WRITE
	}
	return a.Prot
}

// mmap maps the area. MAP_FIXED_NOREPLACE: what lies there already is never
// replaced.
func (a area) mmap(h *kind.Host, flags int, fd plan.Arg, offset uint64) plan.Call {
	flags |= unix.MAP_FIXED_NOREPLACE
	if a.NoReserve {
		flags |= unix.MAP_NORESERVE
	}
	c := inTask(h, unix.SYS_MMAP, plan.Int(a.Start), plan.Int(a.len()), plan.Int(a.firstProt()),
		plan.Int(flags), fd, plan.Int(offset))
	c.Ret = plan.Exactly(int64(a.Start))
	return c
}

// needs are those of mapping at this address: below vm.mmap_min_addr only
// CAP_SYS_RAWIO may (cap_mmap_addr in security/commoncap.c).
func (a area) needs() []plan.Need {
	if a.Start >= lowest {
		return nil
	}
	return []plan.Need{{Demand: "cap:sys_rawio", Why: "maps memory below vm.mmap_min_addr"}}
}

// steps are the plan of a mapping: the calls that map it, and the protection
// that it gets once its pages are there.
func (a area) steps(h *kind.Host, text string, needs []plan.Need, calls ...plan.Call) []plan.Step {
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  "map " + text + " at " + a.span.String(),
		Needs: append(a.needs(), needs...),
		Ops:   asOps(calls),
	}}
	if a.Fill {
		steps = append(steps, plan.Step{
			Stage: plan.Settle,
			Text:  "protect " + a.span.String(),
			Ops:   []plan.Op{a.call(h, unix.SYS_MPROTECT, plan.Int(a.Prot))},
		})
	}
	return steps
}
