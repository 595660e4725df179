package restore

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Descriptors that are open when the stub is made come with it: whoever is
// cloned from it has them too, behind all numbers that will be taken, until the
// commit. What is opened later, or would make tables of descriptors larger than
// they were, is sent through the socket (bring.go), to one process after another.

// tableStep is by how many numbers a table of descriptors grows at the least
// (BITS_PER_LONG, alloc_fdtable in fs/file.c), which /proc/PID/status shows.
const tableStep = 64

// hand chooses the descriptors that come with the stub, those first that are
// wanted most often, and the numbers that they have in the tree.
func (s *session) hand() []int {
	for _, t := range s.tree.FDTables {
		if n := len(t.FDs); n > 0 {
			s.ctl = max(s.ctl, int(t.FDs[n-1].Num)+1)
		}
	}
	s.ctl = max(s.ctl, 1)
	end := (s.ctl + tableStep) / tableStep * tableStep
	if most := s.opts.Caller.Born.Limits[unix.RLIMIT_NOFILE].Cur; uint64(end) > most {
		end = int(most)
	}
	wanted := map[plan.Ref]int{}
	count := func(r plan.Ref) {
		if s.mustBring(r) {
			wanted[r]++
		}
	}
	eachFD(s.steps, count)
	for _, t := range s.tree.FDTables {
		for _, fd := range t.FDs {
			count(s.source(fd))
		}
	}
	refs := make([]plan.Ref, 0, len(wanted))
	for r := range wanted {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b plan.Ref) int {
		return cmp.Or(wanted[b]-wanted[a], cmp.Compare(a.Site, b.Site), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Slot, b.Slot))
	})
	s.handed = map[plan.Ref]int{}
	var mine []int
	for _, r := range refs[:min(len(refs), max(0, end-s.ctl-1))] {
		mine = append(mine, int(s.made[r]))
		s.handed[r] = s.ctl + len(mine)
	}
	return mine
}

// eachFD visits all descriptors that calls of tasks name.
func eachFD(steps []step, visit func(plan.Ref)) {
	var look func([]plan.Arg)
	look = func(args []plan.Arg) {
		for _, a := range args {
			if a.Kind == plan.ArgFD {
				visit(a.Ref)
			}
			for _, r := range a.Relocs {
				look([]plan.Arg{r.Arg})
			}
		}
	}
	for i := range steps {
		for _, op := range steps[i].Ops {
			if c, ok := op.(plan.Call); ok && !c.In.IsZero() {
				look(c.Args)
			}
		}
	}
}

// source is what a descriptor of the tree is made from: each standard stream
// is reconnected to the like of rstr's.
func (s *session) source(fd kind.FDNode) plan.Ref {
	if own := fd.File.Stream(int(fd.Num)); fd.Num <= 2 {
		if _, is := s.made[own]; is {
			return own
		}
	}
	return fd.File.Main()
}

// settleStub brings the tasks' end of the socket and what came with the stub,
// which are its first descriptors, to their numbers, and closes everything else:
// whatever this program was started with must not reach the tree.
func (s *session) settleStub(p *inject.Program) {
	last := s.ctl + len(s.handed)
	for i := len(s.handed); i >= 0; i-- { // the last first: to lies above from, which is not needed any more
		flags := 0 // an Exec lets them be
		if i == 0 {
			flags = unix.O_CLOEXEC
		}
		p.MustEqual(p.Call(unix.SYS_DUP3, inject.N(i), inject.N(s.ctl+i), inject.N(flags)), uint64(s.ctl+i))
	}
	p.Call(unix.SYS_CLOSE_RANGE, inject.N(0), inject.N(s.ctl-1), inject.N(0))
	p.Call(unix.SYS_CLOSE_RANGE, inject.N(last+1), inject.N(^uint32(0)), inject.N(0))
}

// takeAway closes in every table what came with the stub, while nobody has
// locks yet: a process loses those of a file when it closes any descriptor of it
// (fcntl(2)). If nothing is to be sent any more the socket goes too.
func (s *session) takeAway() error {
	s.handed = nil
	first, more := s.ctl, false
	if later := slices.IndexFunc(s.steps, func(st step) bool { return st.Stage > plan.Settle }); later >= 0 {
		eachFD(s.steps[later:], func(plan.Ref) { more = true })
	}
	if more {
		first++
	} else {
		s.ctl = 0
	}
	return s.inTables(closeRange(uint32(first), ^uint32(0)))
}

// inTables has a process make a call for every table of descriptors.
func (s *session) inTables(c plan.Call) error {
	var all []*body
	for _, t := range s.tree.FDTables {
		b, err := s.rep(plan.Ref{Site: plan.FDTable, ID: t.ID})
		if err != nil {
			return err
		}
		if err := s.send(b, c); err != nil {
			return err
		}
		all = append(all, b)
	}
	return s.await(all...)
}

// newTable are the numbers that are taken when a table of descriptors is new.
func (s *session) newTable() map[int]bool {
	used := map[int]bool{s.ctl: true}
	for _, num := range s.handed {
		used[num] = true
	}
	return used
}

func dup3(from, to, flags int) plan.Call {
	return plan.Call{Nr: unix.SYS_DUP3, Args: []plan.Arg{plan.Int(from), plan.Int(to), plan.Int(flags)}, Ret: plan.Exactly(int64(to))}
}

func closeRange(first, last uint32) plan.Call {
	return plan.Call{Nr: unix.SYS_CLOSE_RANGE, Args: []plan.Arg{plan.Int(first), plan.Int(last), plan.Int(0)}}
}
