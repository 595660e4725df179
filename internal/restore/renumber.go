package restore

import (
	"encoding/binary"
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// A program has its numbers in its memory as well. The places that libraries
// use are known, and a word there that is the old number becomes the new one:
// where the C library and the Go runtime keep a thread's, and in the locks that
// it holds and the kernel knows of. What programs themselves have noted, the
// locks that only their library knows (a recursive mutex that is held) and
// what stands in files stays as it was.

// renumber translates the numbers in the memory of the tree.
func (s *session) renumber() error {
	if s.numbers == nil {
		return nil
	}
	noted := s.noted()
	for i := range s.tree.Tasks {
		b := s.bodies[s.tree.Tasks[i].ID]
		if b == nil || !alive(b.node) {
			continue
		}
		for j := range b.node.Threads {
			if err := s.renumberThread(b, &b.node.Threads[j], noted); err != nil {
				return fmt.Errorf("renumbering thread %d: %w", b.node.Threads[j].TID, err)
			}
		}
	}
	return nil
}

// notes are where the kinds know that a thread's number is.
type notes struct{ tid, robust map[uint32]uint64 }

func (c *content) noted() notes {
	n := notes{map[uint32]uint64{}, map[uint32]uint64{}}
	for i := range c.records {
		r := &c.records[i]
		if r.ref.Site != plan.Thread {
			continue
		}
		if k, ok := r.body.(kind.KeepsTID); ok {
			n.tid[r.ref.ID] = k.TIDAt()
		}
		if k, ok := r.body.(kind.KeepsRobustList); ok {
			n.robust[r.ref.ID] = k.RobustListAt()
		}
	}
	return n
}

func (s *session) renumberThread(b *body, n *kind.ThreadNode, at notes) error {
	regs, err := regsOf(n)
	if err != nil {
		return err
	}
	m := memory{b.leader.TID(), uint32(n.TID), uint32(s.number(n.TID))}
	found := false
	for _, addr := range append(cLibraryTIDs(regs), at.tid[n.ID], m.goTID(regs)) {
		here, err := m.translate(addr, ^uint32(0))
		if err != nil {
			return err
		}
		found = found || here
	}
	if !found {
		s.untold = append(s.untold, n.TID)
	}
	return m.translateRobust(at.robust[n.ID])
}

// Where struct pthread has the thread's number, counted from the thread
// pointer on x86-64: in the GNU C library since 2.4 (struct pthread in nptl/descr.h:
// tcbhead_t of 704 bytes, then a list_t), and in musl since 1.2.0
// (src/internal/pthread_impl.h).
const (
	glibcTID = 704 + 16
	muslTID  = 48
)

func cLibraryTIDs(r abi.Regs) []uint64 {
	if r.FsBase == 0 {
		return nil
	}
	return []uint64{r.FsBase + glibcTID, r.FsBase + muslTID}
}

// memory is that of a process, and the number to be replaced.
type memory struct {
	pid      int
	old, now uint32
}

// read reads one word; nothing where there is no memory.
func (m memory) read(addr uint64, size int) uint64 {
	var b [8]byte
	if addr == 0 {
		return 0
	}
	if n, err := kernelio.ReadMem(m.pid, addr, b[:size]); err != nil || n < size {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// translate replaces the bits of mask of the word at an address, if they are
// the old number, and says whether they were.
func (m memory) translate(addr uint64, mask uint32) (bool, error) {
	was := uint32(m.read(addr, 4))
	if was&mask != m.old {
		return false, nil
	}
	_, err := kernelio.WriteMem(m.pid, addr, binary.LittleEndian.AppendUint32(nil, was&^mask|m.now))
	return true, err
}

// Of structs of the Go runtime on amd64 (runtime/runtime2.go): g.m, and m.procid
// after m.g0 and m.morebuf, which lost a word in Go 1.25.
const (
	goGofM    = 48
	goProcID  = 8 + 48 + 8
	goProcID2 = 8 + 56 + 8
)

// goTID is where the Go runtime has the thread's number, if the thread pointer
// leads to a g whose m has a g0 that leads back to it.
func (m memory) goTID(r abi.Regs) uint64 {
	if r.FsBase < 8 {
		return 0
	}
	g := m.read(r.FsBase-8, 8)
	if g == 0 {
		return 0
	}
	owner := m.read(g+goGofM, 8)
	g0 := m.read(owner, 8)
	if owner == 0 || g0 == 0 || m.read(g0+goGofM, 8) != owner {
		return 0
	}
	for _, off := range []uint64{goProcID, goProcID2} {
		if m.read(owner+off, 8) == uint64(m.old) {
			return owner + off
		}
	}
	return 0
}

// Of robust futexes (linux/futex.h): the bits of the owner in a lock, the bit
// of an entry that says that the lock is a priority-inheriting one; and where
// the GNU C library keeps the owner of a mutex, counted from its lock.
const (
	futexTIDMask = 0x3fffffff
	robustPI     = 1
	glibcOwner   = 8
	maxRobust    = 2048 // ROBUST_LIST_LIMIT
)

// translateRobust goes through the locks that the kernel would release if the
// thread died: struct robust_list_head is the first entry, the distance from
// an entry to its lock, and an entry that is being taken.
func (m memory) translateRobust(head uint64) error {
	if head == 0 {
		return nil
	}
	distance := m.read(head+8, 8)
	entries := []uint64{m.read(head+16, 8)}
	for e := m.read(head, 8); e&^robustPI != head && e != 0 && len(entries) < maxRobust; e = m.read(e&^robustPI, 8) {
		entries = append(entries, e)
	}
	for _, e := range entries {
		if e &^= robustPI; e == 0 {
			continue
		}
		lock := e + distance
		if _, err := m.translate(lock, futexTIDMask); err != nil {
			return err
		}
		if _, err := m.translate(lock+glibcOwner, ^uint32(0)); err != nil {
			return err
		}
	}
	return nil
}
