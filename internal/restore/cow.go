package restore

import (
	"iter"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// Pages that processes share copy on write can only come about as they did:
// by fork(2). Where a tree shares some, an address space, emptied as it is then,
// gets the mappings and pages in question before others are cloned from it; what
// these keep is left out of their own plan. All else, and every tree that shares
// nothing, is made when all processes are there.

// bornAside says whether the kernel's mappings of an address space are out of
// the way when it is born: that of the root, from which all others come but
// those that executed a file, was emptied before.
func (s *session) bornAside(mm uint32) bool {
	if s.born[mm] != nil {
		return s.aside[mm]
	}
	return mm != s.tree.Tasks[0].MM
}

// makeReady prepares a process that is about to clone others: the root is
// emptied, so that there is little to clone, and whoever is to share pages with
// others gets them.
func (s *session) makeReady(b *body) error {
	mm := b.node.MM
	root := mm == s.tree.Tasks[0].MM
	lends := s.forks != nil && mm != 0 && (root || len(s.forks[mm].lends) > 0)
	if s.cleared[mm] || !root && !lends {
		return nil
	}
	ref := plan.Ref{Site: plan.MM, ID: mm}
	s.cleared[mm] = true
	if err := s.clearOne(b, ref); err != nil {
		return err
	}
	if err := s.await(b); err != nil || !lends {
		return err
	}
	return s.lend(b, ref)
}

// lend makes what others are to share with a process.
func (s *session) lend(b *body, ref plan.Ref) error {
	if ref.ID == s.tree.Tasks[0].MM {
		s.leaveOut()
	}
	for _, stage := range []plan.Stage{plan.Create, plan.Connect} {
		if err := s.carryEarly(stage, ref); err != nil {
			return err
		}
	}
	if n := s.mms[ref.ID].Lent; n != 0 {
		return s.fillOne(filling{b, s.manifest.Blobs[n-1]}, 0)
	}
	return nil
}

// leaveOut takes from the steps of inherited mappings what their processes
// would execute before their pages come: the records are the same as those of
// the mappings that they were cloned from, and so is the outcome. What the
// tool does, such as opening files, may serve others too.
func (s *session) leaveOut() {
	kept := map[plan.Ref]bool{}
	for _, f := range s.forks {
		for _, k := range f.keep {
			kept[plan.Ref{Site: plan.Mapping, ID: k.id}] = true
		}
	}
	for i := range s.steps {
		if st := &s.steps[i]; kept[st.ref] && st.Stage < plan.Fill {
			st.Ops = slices.DeleteFunc(slices.Clone(st.Ops), func(op plan.Op) bool {
				c, ok := op.(plan.Call)
				return ok && !c.In.IsZero()
			})
		}
	}
}

// carryEarly carries out the steps of a stage that concern the mappings that
// an address space lends, or itself, and all that they wait for. An executable
// file comes later: a process that was cloned with it could not change it.
func (s *session) carryEarly(stage plan.Stage, mm plan.Ref) error {
	lends := s.forks[mm.ID].lends
	early := map[*step]bool{}
	for st := range s.upTo(stage) {
		if st.Stage == stage && !st.demands("exe-link") && (st.ref == mm && stage == plan.Create || st.ref.Site == plan.Mapping && lends[st.ref.ID]) {
			early[st] = true
		}
	}
	s.addNeeded(stage, early)
	return s.carry(s.these(stage, early))
}

// these are some of the steps that are yet to be done.
func (s *session) these(stage plan.Stage, some map[*step]bool) (ps []*progress) {
	for st := range s.upTo(stage) {
		if some[st] {
			ps = append(ps, &progress{step: st})
		}
	}
	return ps
}

// upTo visits the steps up to the end of a stage that are yet to be done.
func (s *session) upTo(stage plan.Stage) iter.Seq[*step] {
	return func(yield func(*step) bool) {
		for i := range s.steps {
			if st := &s.steps[i]; st.Stage <= stage && st.next < len(st.Ops) && !yield(st) {
				return
			}
		}
	}
}

// addNeeded adds the steps that make what others name, and what those name,
// and so on.
func (s *session) addNeeded(stage plan.Stage, early map[*step]bool) {
	maker := map[plan.Ref]*step{}
	for st := range s.upTo(stage) {
		for _, r := range makes(st) {
			if maker[r] == nil {
				maker[r] = st
			}
		}
	}
	todo := slices.Collect(maps.Keys(early))
	for len(todo) > 0 {
		st := todo[0]
		todo = todo[1:]
		for _, r := range uses(st) {
			if m := maker[r]; m != nil && !early[m] && !s.has(r) {
				early[m] = true
				todo = append(todo, m)
			}
		}
	}
}

// makes lists the results that a step gives names to.
func makes(st *step) (out []plan.Ref) {
	for _, op := range st.Ops {
		if c, ok := op.(plan.Call); ok {
			out = append(out, c.Makes()...)
		}
	}
	return out
}

// uses lists the results that a step uses.
func uses(st *step) (out []plan.Ref) {
	var add func(args []plan.Arg)
	add = func(args []plan.Arg) {
		for _, a := range args {
			switch a.Kind {
			case plan.ArgResult, plan.ArgFD, plan.ArgFDPath:
				out = append(out, a.Ref)
			}
			for _, r := range a.Relocs {
				add([]plan.Arg{r.Arg})
			}
		}
	}
	for _, op := range st.Ops {
		switch o := op.(type) {
		case plan.Call:
			add(o.Args)
		case plan.Move:
			out = append(out, o.Into)
		}
	}
	return out
}

// empty unmaps all that an address space was born with but the stub, in
// [lo, hi), and the mappings that it keeps; from these it drops the pages that
// it does not share. Where a file is behind, its contents show again.
func (s *session) empty(mm uint32, lo, hi uint64) []plan.Call {
	stay := image.Extents{{Off: lo, Len: hi - lo}}
	var f fork
	if s.forks != nil {
		f = *s.forks[mm]
	}
	stay, _ = stay.Plus(ranges(f.keep))
	var cs []plan.Call
	for _, e := range (image.Extents{{Off: 0, Len: taskTop}}).Minus(stay) {
		cs = append(cs, munmap(e.Off, e.Len))
	}
	for _, e := range f.drop {
		cs = append(cs, plan.Call{Nr: unix.SYS_MADVISE, Args: []plan.Arg{plan.Int(e.Off), plan.Int(e.Len), plan.Int(unix.MADV_DONTNEED)}})
	}
	return cs
}
