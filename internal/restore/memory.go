package restore

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
)

// spaces are the address spaces of processes that are to have other rights
// than the caller.
func (w *wanting) spaces(p *prospect) map[uint32]bool {
	privileged := map[uint32]bool{}
	for i := range p.steps {
		st := &p.steps[i]
		t := p.taskBehind(st.ref)
		for _, n := range st.Needs {
			if t != nil && otherRights(n) && !w.has(n) {
				privileged[t.MM] = true
			}
		}
	}
	return privileged
}

// memories adds what is believed of such processes: that their memory and
// registers are what their program made of them. Who shares that memory counts
// as well, since it can write it.
func (w *wanting) memories(p *prospect) {
	if len(w.privileged) == 0 {
		return
	}
	programs, users := p.programs(), p.users()
	for i := range p.tree.Tasks {
		t := &p.tree.Tasks[i]
		if !alive(t) || !w.privileged[t.MM] {
			continue
		}
		object := plan.Ref{Site: plan.MM, ID: t.MM}
		want := policy.Want{Object: p.nameOf(t.Ref()), Need: plan.Need{Demand: "memory:" + w.pathOf(programs[object]),
			Why: "it has other rights than the caller, and what its memory holds is believed"}}
		if uid, ok := users[t.ID]; ok {
			want.UID = &policy.Mapped{From: w.ids.OfUID(uid), To: uid}
		}
		w.all = append(w.all, want)
	}
}

// otherRights says whether a need makes a process another subject.
func otherRights(n plan.Need) bool {
	d, err := plan.ParseDemand(n.Demand)
	if err != nil {
		return true
	}
	switch d.Term {
	case "loosen":
		return d.Name != "dumpable"
	case "uid", "gid", "group+", "group-", "cap", "label", "seccomp-no-nnp", "root-dir":
		return true
	}
	return false
}

// taskBehind is the process that an object is part of; nil if it may be many's.
func (p *prospect) taskBehind(r plan.Ref) *kind.TaskNode {
	switch r.Site {
	case plan.Task:
		return p.tasks[r.ID]
	case plan.Thread:
		return p.tasks[p.taskOf[r.ID]]
	}
	return nil
}

// programs are the executable files of the address spaces.
func (p *prospect) programs() map[plan.Ref]plan.Ref {
	out := map[plan.Ref]plan.Ref{}
	for i := range p.records {
		if e, ok := p.records[i].body.(kind.Executes); ok {
			out[p.records[i].ref] = e.Executable().Main()
		}
	}
	return out
}

// users are the real users of the processes: those of their first threads.
func (p *prospect) users() map[uint32]uint32 {
	out := map[uint32]uint32{}
	for i := range p.records {
		r := &p.records[i]
		if c, ok := r.body.(kind.Wears); ok && r.ref.Site == plan.Thread {
			if t := p.tasks[p.taskOf[r.ref.ID]]; t != nil && t.Threads[0].ID == r.ref.ID {
				out[t.ID] = uint32(c.Wears().UID.Real)
			}
		}
	}
	return out
}

// pathOf is where an inode was found, or its name where it has no path.
func (w *wanting) pathOf(inode plan.Ref) string {
	if f := w.files[inode.String()]; f != nil {
		return f.path
	}
	return fmt.Sprint(inode)
}
