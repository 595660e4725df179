package dump

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// A ckpt that is killed while it has calls made by several threads of a process
// leaves the memory there that they ran in. It is no part of the program: the
// next dump does not record it, and takes it away.

// leaveOut takes what earlier dumps left out of the mappings of an address space.
func (s *session) leaveOut(mm *kind.MMSite, vmas []abi.SmapsVMA) ([]abi.SmapsVMA, error) {
	var left []abi.VMA
	for i := 0; i < len(vmas); i++ {
		n := leftAt(int(mm.Task.PID), vmas[i:])
		if n == 0 {
			continue
		}
		lo, hi := vmas[i].Start, vmas[i+n-1].End
		if used, err := s.runsIn(mm, lo, hi); err != nil {
			return nil, err
		} else if used {
			continue
		}
		left = append(left, abi.VMA{Start: lo, End: hi})
		vmas = slices.Delete(vmas, i, i+n)
		i--
	}
	if len(left) > 0 {
		if s.left == nil {
			s.left = map[*kind.MMSite][]abi.VMA{}
		}
		s.left[mm] = left
	}
	return vmas, nil
}

// leftAt says how many mappings from the first of vmas on were left there by a
// dump: its code, and the data behind it.
func leftAt(pid int, vmas []abi.SmapsVMA) int {
	v := &vmas[0]
	if v.Prot != unix.PROT_READ|unix.PROT_EXEC || !nameless(v) {
		return 0
	}
	hi, ok := inject.LeftSpace(func(b []byte, at uint64) (int, error) { return kernelio.ReadMem(pid, at, b) }, v.Start)
	switch {
	case !ok:
	case v.End == hi:
		return 1
	case len(vmas) > 1 && vmas[1].Start == v.End && vmas[1].End == hi && nameless(&vmas[1]):
		return 2
	}
	return 0
}

func nameless(v *abi.SmapsVMA) bool { return !v.Shared && v.Inode == 0 && v.Path == "" }

// runsIn says whether a thread has yet to leave a range of addresses.
func (s *session) runsIn(mm *kind.MMSite, lo, hi uint64) (bool, error) {
	for _, p := range s.procs {
		if p.site == nil || p.site.MM != mm {
			continue
		}
		for _, tid := range p.tids {
			th := s.frozen[tid]
			if th == nil {
				continue
			}
			r, err := th.Regs()
			if err != nil || r.Rip >= lo && r.Rip < hi {
				return true, err
			}
		}
	}
	return false, nil
}

// without is the range from lo to hi but for what was left there.
func without(lo, hi uint64, left []abi.VMA) (out []image.Extent) {
	for _, v := range left {
		if v.End <= lo || v.Start >= hi {
			continue
		}
		if v.Start > lo {
			out = append(out, image.Extent{Off: lo, Len: v.Start - lo})
		}
		lo = min(v.End, hi)
	}
	if lo < hi {
		out = append(out, image.Extent{Off: lo, Len: hi - lo})
	}
	return out
}

// takeAway unmaps what was left in the address space of a process.
func (s *session) takeAway(p *process, space *inject.Space) error {
	left := s.left[p.site.MM]
	if len(left) == 0 {
		return nil
	}
	delete(s.left, p.site.MM)
	for some := range slices.Chunk(left, atATime) {
		prog := inject.NewProgram()
		for _, v := range some {
			prog.Call(unix.SYS_MUNMAP, inject.N(v.Start), inject.N(v.Len()))
		}
		if err := space.Run(s.frozen[p.pid], prog); err != nil {
			return err
		}
	}
	return nil
}

// atATime calls take less room than any space has.
const atATime = 16

// takeAllAway does so for some processes.
func (s *session) takeAllAway(procs []*process, spaces map[int]*inject.Space) error {
	var all error
	for _, p := range procs {
		all = errors.Join(all, s.takeAway(p, spaces[p.pid]))
	}
	return all
}
