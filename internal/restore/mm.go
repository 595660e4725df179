package restore

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// Where the stub may lie. The kernel puts the stack, vdso and mappings of a
// fresh process below taskTop; low addresses belong to executables.
const (
	taskTop   = 0x7ffffffff000 // TASK_SIZE_MAX with 4-level page tables
	stubFirst = 0x10_0000_0000
	stubLast  = 0x7e00_0000_0000
	// margin keeps clear of mappings, for the guard gap below a stack
	// (stack_guard_gap is 256 pages by default) and for huge page alignment.
	margin = 4 << 20
	// asideRoom is for the kernel's special mappings while they wait.
	asideRoom = 64 << 10
)

// stubSize is the room for programs in each process.
func (c *content) stubSize() uint64 {
	most := 1
	for i := range c.tree.Tasks {
		most = max(most, len(c.tree.Tasks[i].Threads))
	}
	return 4<<20 + uint64(most)*(32<<10)
}

// findHole finds a range of the size that is free in every address space.
func (c *content) findHole(size uint64) (uint64, error) {
	var used []image.Extent
	for i := range c.tree.MMs {
		used = append(used, c.tree.MMs[i].Used...)
	}
	slices.SortFunc(used, func(a, b image.Extent) int {
		if a.Off < b.Off {
			return -1
		}
		return 1
	})
	at := uint64(stubFirst)
	for _, u := range used {
		if u.Off > at && u.Off-at >= size+margin {
			break
		}
		at = max(at, (u.End()+2*margin-1)&^(margin-1))
	}
	if at+size+margin > stubLast {
		return 0, fmt.Errorf("no %d bytes of address space are free in all processes of the tree", size)
	}
	return at, nil
}

// clear empties the address space of every process: only the stub and the
// kernel's special mappings stay, these aside, until their kinds bring them
// to their places.
func (s *session) clear() error {
	var all []*body
	for _, ref := range s.spaces() {
		if s.cleared[ref.ID] {
			continue
		}
		b, err := s.rep(ref)
		if err != nil {
			return err
		}
		if s.bornEmpty(ref.ID) {
			s.noteSpecials(b, ref)
			continue
		}
		if err := s.clearOne(b, ref); err != nil {
			return err
		}
		all = append(all, b)
	}
	return s.await(all...)
}

// bornEmpty says whether an address space holds nothing but the stub and what
// is aside: it was cloned from that of the root, which was emptied, and shares no
// pages.
func (s *session) bornEmpty(mm uint32) bool { return s.forks == nil && s.bornAside(mm) }

// spaces lists the address spaces of the tree.
func (s *session) spaces() []plan.Ref {
	var out []plan.Ref
	for _, m := range s.tree.MMs {
		out = append(out, plan.Ref{Site: plan.MM, ID: m.ID})
	}
	return out
}

// moved is a special mapping and where it waits.
type moved struct {
	name     string
	from, to uint64
	size     uint64
}

// specials lists the kernel's mappings of a process, which all that are cloned
// from it have at the same place, and chooses where they wait: behind the stub,
// in the order in which they lie.
func (s *session) specials(pid int, space *inject.Space) ([]moved, error) {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	vmas, err := dir.Maps()
	if err != nil {
		return nil, err
	}
	_, at := space.Range()
	var out []moved
	for _, v := range vmas {
		if kind.SpecialSlot(v.Path) == 0 || v.Start >= taskTop {
			continue
		}
		out = append(out, moved{name: v.Path, from: v.Start, to: at, size: v.Len()})
		at += v.Len()
	}
	return out, nil
}

// noteSpecials notes where the kernel's mappings of an address space wait, and
// tells the range in which they and the stub lie.
func (s *session) noteSpecials(b *body, ref plan.Ref) (special []moved, lo, hi uint64) {
	special = s.special
	if own := s.born[ref.ID]; own != nil {
		special = own
	}
	lo, hi = b.space.Range()
	for _, m := range special {
		s.inTask[kind.SpecialRef(ref, m.name)] = int64(m.to)
		hi = m.to + m.size
	}
	return special, lo, hi
}

// clearOne has a process empty its address space, which is yet to be waited for.
func (s *session) clearOne(b *body, ref plan.Ref) error {
	var cs []plan.Call
	special, lo, hi := s.noteSpecials(b, ref)
	for _, m := range special {
		if !s.bornAside(ref.ID) {
			cs = append(cs, plan.Call{Nr: unix.SYS_MREMAP, Args: []plan.Arg{plan.Int(m.from), plan.Int(m.size), plan.Int(m.size),
				plan.Int(unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED), plan.Int(m.to)}, Ret: plan.Exactly(int64(m.to))})
		}
	}
	cs = append(cs, s.empty(ref.ID, lo, hi)...)
	for ; len(cs) > maxCalls; cs = cs[maxCalls:] {
		if err := s.run(b, cs[:maxCalls]...); err != nil {
			return err
		}
	}
	return s.send(b, cs...)
}

func munmap(at, size uint64) plan.Call {
	return plan.Call{Nr: unix.SYS_MUNMAP, Args: []plan.Arg{plan.Int(at), plan.Int(size)}}
}

// openSocket makes what descriptors travel through, and chooses those that need
// not.
func (s *session) openSocket() error {
	mine, theirs, err := kernelio.Socketpair(unix.SOCK_SEQPACKET)
	if err != nil {
		return err
	}
	s.socket, s.owned[theirs.Int()] = mine, true
	s.stubFDs = append([]int{theirs.Take()}, s.hand()...)
	return nil
}

// newStub starts the process that all others are copies of.
func (s *session) newStub() error {
	size := s.stubSize()
	span := inject.StubSpan(size)
	base, err := s.findHole(span + asideRoom)
	if err != nil {
		return err
	}
	s.stub, err = s.tracer.NewStub(inject.StubOptions{Base: base, Size: size, Files: s.stubFDs, Barrier: s.barrier,
		Ambient: s.ambient(), NonDumpable: s.opts.Elevated, First: s.settleStub})
	kernelio.CloseFD(s.stubFDs[0])
	delete(s.owned, s.stubFDs[0])
	return err
}
