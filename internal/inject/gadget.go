package inject

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// gadgets are addresses of code in a target; home.go says what for.
type gadgets struct {
	syscall  uint64 // S
	restorer uint64 // G
}

// fileID names a piece of a mapped file, whose code is looked through once.
type fileID struct{ dev, ino, off, size uint64 }

// syscallSize is the length of the syscall instruction.
const syscallSize = 2

// The machine code looked for, best first. The second S is how the GNU C
// library ends its wrappers: cmp $-4095, %rax; jae over the ret. It returns
// unless the call fails.
func syscallRet() [][]byte {
	return [][]byte{
		{0x0f, 0x05, 0xc3},
		{0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73, 0x01, 0xc3},
	}
}

// sigreturns are mov $15, %rax or %eax; syscall.
func sigreturns() [][]byte {
	return [][]byte{
		{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05},
		{0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05},
	}
}

var errNoGadget = errors.New("the program has no code to return from signals with")

// findGadgets looks through the executable mappings of a target.
func (tr *Tracer) findGadgets(mem *kernelio.TraceeMem, vmas []abi.VMA) (g gadgets, err error) {
	for _, v := range codeMappings(vmas) {
		found, err := tr.gadgetsIn(mem, v)
		if err != nil {
			continue // a file that was cut short, a device
		}
		if g.syscall == 0 && found.syscall != 0 {
			g.syscall = v.Start + found.syscall - 1
		}
		if g.restorer == 0 && found.restorer != 0 {
			g.restorer = v.Start + found.restorer - 1
		}
		if g.syscall != 0 && g.restorer != 0 {
			return g, g.check(mem)
		}
	}
	return gadgets{}, errNoGadget
}

// check reads the code again: a target may have changed its own, while what
// is known of the file comes from another one.
func (g gadgets) check(mem *kernelio.TraceeMem) error {
	if matches(mem, g.syscall, syscallRet()) && matches(mem, g.restorer, sigreturns()) {
		return nil
	}
	return errNoGadget
}

func matches(mem *kernelio.TraceeMem, addr uint64, patterns [][]byte) bool {
	for _, p := range patterns {
		b := make([]byte, len(p))
		if _, err := mem.ReadAt(b, int64(addr)); err == nil && bytes.Equal(b, p) {
			return true
		}
	}
	return false
}

// codeMappings lists executable file mappings, the C library first, then the
// small ones.
func codeMappings(vmas []abi.VMA) []*abi.VMA {
	var list []*abi.VMA
	for i := range vmas {
		v := &vmas[i]
		if v.Prot&unix.PROT_EXEC != 0 && v.Prot&unix.PROT_READ != 0 && v.Inode != 0 {
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b *abi.VMA) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Len(), b.Len()))
	})
	return list
}

func rank(v *abi.VMA) int {
	name := path.Base(v.Path)
	if strings.HasPrefix(name, "libc.") || strings.HasPrefix(name, "libc-") || strings.HasPrefix(name, "ld-musl") {
		return 0
	}
	return 1
}

// gadgetsIn gives offsets into the mapping plus one; 0 if there is none.
func (tr *Tracer) gadgetsIn(mem *kernelio.TraceeMem, v *abi.VMA) (gadgets, error) {
	id := fileID{v.Dev, v.Inode, v.Offset, v.Len()}
	if g, known := tr.gadgets[id]; known {
		return g, nil
	}
	g, err := scan(mem, v)
	if err == nil {
		tr.gadgets[id] = g
	}
	return g, err
}

// chunk is read at once; consecutive ones overlap by the longest pattern.
const (
	chunk   = 64 << 10
	overlap = 16
)

func scan(mem *kernelio.TraceeMem, v *abi.VMA) (g gadgets, err error) {
	b := make([]byte, chunk)
	for at := v.Start; at < v.End; at += chunk - overlap {
		b := b[:min(chunk, v.End-at)]
		if _, err := mem.ReadCode(b, int64(at)); err != nil {
			return g, err
		}
		g.note(b, at-v.Start)
		if g.syscall != 0 && g.restorer != 0 {
			break
		}
	}
	return g, nil
}

// note remembers the first patterns found in b, which is off bytes into the
// mapping, for S the best of b.
func (g *gadgets) note(b []byte, off uint64) {
	calls, returns := syscallRet(), sigreturns()
	found, restorer := make([]uint64, len(calls)), uint64(0)
	for at := range syscallsIn(b) {
		for i, p := range calls {
			if found[i] == 0 && bytes.HasPrefix(b[at:], p) {
				found[i] = off + uint64(at) + 1
			}
		}
		for _, p := range returns {
			if restorer == 0 && bytes.HasSuffix(b[:at+syscallSize], p) {
				restorer = off + uint64(at+syscallSize-len(p)) + 1
			}
		}
	}
	g.syscall = cmp.Or(g.syscall, cmp.Or(found...))
	g.restorer = cmp.Or(g.restorer, restorer)
}

// syscallsIn gives the places of all syscall instructions, 0f 05. The search
// for a single byte is much faster than any other.
func syscallsIn(b []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 1; at < len(b); at++ {
			i := bytes.IndexByte(b[at:], 0x05)
			if i < 0 {
				return
			}
			if at += i; b[at-1] == 0x0f && !yield(at-1) {
				return
			}
		}
	}
}

// vdsoSyscall finds a syscall instruction in the vdso.
func vdsoSyscall(mem *kernelio.TraceeMem, vmas []abi.VMA) (uint64, error) {
	i := slices.IndexFunc(vmas, func(v abi.VMA) bool { return v.Path == "[vdso]" })
	if i < 0 {
		return 0, errors.New("the target has no vdso")
	}
	b := make([]byte, vmas[i].Len())
	if _, err := mem.ReadAt(b, int64(vmas[i].Start)); err != nil {
		return 0, err
	}
	at := bytes.Index(b, []byte{0x0f, 0x05})
	if at < 0 {
		return 0, errors.New("the target's vdso makes no system calls")
	}
	return vmas[i].Start + uint64(at), nil
}

// readMaps reads the mappings of task tid.
func readMaps(tid int) ([]abi.VMA, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", tid))
	if err != nil {
		return nil, err
	}
	return abi.ParseMaps(text)
}

// The addresses that hole looks at: above what mmap_min_addr and mappings
// near zero may want, below the end of user space with 47 bits.
const (
	lowest  = 1 << 20
	highest = 1<<47 - 1<<20
)

// hole is an address for n bytes: about the middle of the widest gap between
// the mappings, where nothing grows and no neighbour could be merged with. It
// is random, so that it is not that of a Space which a tool that died left a
// thread on the way to, or from.
func hole(vmas []abi.VMA, n uint64) (uint64, error) {
	var best span
	end := uint64(lowest)
	for _, v := range vmas {
		if v.Start >= highest {
			break
		}
		if v.Start > end && v.Start-end > best.hi-best.lo {
			best = span{end, v.Start}
		}
		end = max(end, v.End)
	}
	if end < highest && highest-end > best.hi-best.lo {
		best = span{end, highest}
	}
	if best.hi-best.lo < 4*n {
		return 0, fmt.Errorf("no hole of %d bytes in the address space", n)
	}
	quarter := (best.hi - best.lo) / 4
	return (best.lo + quarter + rand.Uint64N(quarter)) &^ (pageSize - 1), nil
}
