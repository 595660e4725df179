package restore

import (
	"fmt"
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// NeedsError says that the image asks for what nobody granted.
type NeedsError struct{ Wants []policy.Judged }

func (e *NeedsError) Error() string {
	var lines []string
	for _, w := range e.Wants {
		lines = append(lines, fmt.Sprintf("%s: needs %s (%s)", w.Object, w.Need.Demand, w.Need.Why))
	}
	return strings.Join(lines, "\n")
}

// wants lists what a plan needs, with what the engine needs itself: to run as
// who runs it, and the numbers of the tree.
func (p *prospect) wants(o *Options) []policy.Want {
	caller := &o.Caller
	w := wanting{ids: o.Map, located: p.located(), rights: rights{caller, p.files, sum(p.steps)}, seen: map[[2]string]bool{}}
	w.sums["tasks"] = uint64(len(p.threads))
	root := fmt.Sprintf("process %d", p.tree.Tasks[0].PID)
	if caller.UID.Real == 0 {
		w.add(root, plan.Need{Demand: "uid:0", Why: "it would run as root"})
	}
	if o.Route == Here || o.Route == LastPID {
		w.add(root, plan.Need{Demand: "pid:here", Why: "its original PIDs want CAP_CHECKPOINT_RESTORE"})
	}
	w.add(root, plan.Need{Demand: "limit:tasks", Why: fmt.Sprintf("so many threads are in the tree: %d", len(p.threads)), Amount: uint64(len(p.threads))})
	w.privileged = w.spaces(p)
	for i := range p.steps {
		w.step(p, &p.steps[i])
	}
	w.memories(p)
	return w.all
}

func (w *wanting) step(p *prospect, st *step) {
	if len(st.Ops) == 0 {
		return // lost, whoever would grant it
	}
	object := func() string { return st.name() + ": " + st.Text }
	for _, n := range st.Needs {
		if t := p.taskBehind(st.ref); n.Demand == "loosen:dumpable" && t != nil && !w.privileged[t.MM] {
			continue // she could trace it anyway
		}
		w.add(object(), n)
	}
	if st.ref.Site != plan.Inode {
		return
	}
	if f := w.files[st.ref.String()]; f != nil && f.hidden {
		w.add(object(), plan.Need{Demand: fmt.Sprintf("file:%v:x", st.ref), Why: "the caller can't reach it"})
	}
}

// wanting collects wants, each demand of an object once.
type wanting struct {
	rights
	ids        *credmap.Map
	located    map[string]kind.Located
	privileged map[uint32]bool // address spaces of processes with other rights than the caller
	seen       map[[2]string]bool
	all        []policy.Want
}

func (w *wanting) add(object string, n plan.Need) {
	own := w.has(n)
	if !own && w.exchanged(n.Demand) {
		n.Why = "another file is there than at the dump"
	}
	n.Demand = w.named(n.Demand)
	if key := [2]string{object, n.Demand}; !w.seen[key] {
		w.seen[key] = true
		want := policy.Want{Object: object, Need: n, Own: own}
		want.UID, want.GID = w.mapped(n.Demand)
		w.all = append(w.all, want)
	}
}

// mapped are the ids of a demand with those that the image has in their place.
func (w *wanting) mapped(demand string) (uid, gid *policy.Mapped) {
	d, err := plan.ParseDemand(demand)
	if err != nil {
		return nil, nil
	}
	switch d.Term {
	case "uid", "open-as":
		uid = &policy.Mapped{From: w.ids.OfUID(d.ID), To: d.ID}
	case "gid", "group+", "group-":
		gid = &policy.Mapped{From: w.ids.OfGID(d.ID), To: d.ID}
	case "own":
		uid = &policy.Mapped{From: w.ids.OfUID(d.ID), To: d.ID}
		gid = &policy.Mapped{From: w.ids.OfGID(d.GID), To: d.GID}
	}
	return uid, gid
}

// named puts the path of a file in the place of its object.
func (w *wanting) named(demand string) string {
	d, err := plan.ParseDemand(demand)
	if err != nil || d.Term != "file" {
		return demand
	}
	if f := w.files[d.Name]; f != nil {
		if w.exchanged(demand) && !w.hasDemand(demand) {
			return "file:exchanged " + f.path + ":" + d.Mode // in no tree
		}
		return "file:" + f.path + ":" + d.Mode
	}
	if d.Name[0] == '/' { // by a name, behind which may be another file each time: no tree has it
		return "file:name " + d.Name + ":" + d.Mode
	}
	return demand
}

// exchanged says whether a file is another one than at the dump: another user's,
// or, where it is to be written, another inode. What a policy grants for a tree
// it does not grant for what somebody has put there.
func (w *wanting) exchanged(demand string) bool {
	d, err := plan.ParseDemand(demand)
	if err != nil || d.Term != "file" {
		return false
	}
	f, was := w.files[d.Name], w.located[d.Name]
	if f == nil || was == nil || f.ino == 0 || d.Mode == "x" {
		return false
	}
	dev, ino, owner := was.Location()
	return f.owner != uint32(owner) || d.Mode != "r" && (f.dev != dev || f.ino != ino)
}

// located are the records of files that stay where they are, by object.
func (c *content) located() map[string]kind.Located {
	out := map[string]kind.Located{}
	for i := range c.records {
		if l, ok := c.records[i].body.(kind.Located); ok {
			out[c.records[i].ref.String()] = l
		}
	}
	return out
}

// judge asks for a decision on all that a plan needs. Without a judge nothing
// is granted.
func (o *Options) judge(wants []policy.Want) policy.Decision {
	if o.Judge == nil {
		return (*policy.Policy)(nil).Judge(policy.Request{Wants: wants})
	}
	return o.Judge(wants)
}

// refusal is the error of a decision; nil if everything is granted.
func refusal(d policy.Decision) error {
	if d.OK {
		return nil
	}
	return &NeedsError{d.Refused()}
}
