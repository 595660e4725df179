package restore

import (
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// worn is a thread's record that is whose it says, and needs what it says.
type worn struct {
	UID  credmap.UID `cbor:"1,keyasint"`
	Need string      `cbor:"2,keyasint"`
}

func (w *worn) Wears() kind.Creds { return kind.Creds{UID: kind.UIDs{Real: w.UID}} }

type executed struct {
	Exe kind.InodeRef `cbor:"1,keyasint"`
}

func (e *executed) Executable() kind.InodeRef { return e.Exe }

func wornTable() kind.Table {
	return append(toys(),
		kind.New(kind.Spec[*kind.ThreadSite, worn]{Name: "worn", At: plan.Thread, Plan: func(w worn, _ *kind.Host) []plan.Step {
			if w.Need == "" {
				return nil
			}
			return []plan.Step{{Stage: plan.Creds, Text: "x", Ops: []plan.Op{plan.Call{}}, Needs: []plan.Need{{Demand: w.Need, Why: "x"}}}}
		}}),
		toy[*kind.MMSite]("executed", plan.MM, false, func(executed, *kind.Host) []plan.Step { return nil }))
}

// The memory of a process with other rights is a want of its own, with that
// of all who share it; where nobody has other rights there is none.
func TestMemories(t *testing.T) {
	for name, c := range map[string]struct {
		needs  [3]string // of the three threads: two of process 100, one of 102
		shared bool
		want   []string // process and real user of the image
	}{
		"all the caller's":    {[3]string{"", "", ""}, false, nil},
		"not about ids":       {[3]string{"sched", "", ""}, false, nil},
		"what she has":        {[3]string{"cap:net_bind_service", "", ""}, false, nil},
		"a leader":            {[3]string{"uid:0", "", ""}, false, []string{`process 100 ("one")`}},
		"a thread":            {[3]string{"", "cap:sys_admin", ""}, false, []string{`process 100 ("one")`}},
		"a child":             {[3]string{"", "", "group-5"}, false, []string{`process 102 ("two")`}},
		"who shares with one": {[3]string{"", "", "gid:5"}, true, []string{`process 100 ("one")`, `process 102 ("two")`}},
	} {
		d := newDraft(t)
		if c.shared {
			d.tree.Tasks[1].MM = 1
		}
		for i, need := range c.needs {
			d.add(plan.Thread, uint32(i+1), "worn", worn{credmap.UID(10 + i), need})
		}
		d.add(plan.MM, 1, "executed", executed{1})
		b, err := image.Marshal(&d.tree)
		if err != nil {
			t.Fatal(err)
		}
		d.m.Tree = b
		cont := &content{manifest: &d.m, tree: &d.tree, tasks: map[uint32]*kind.TaskNode{}, taskOf: map[uint32]uint32{1: 1, 2: 1, 3: 2}}
		for i := range d.tree.Tasks {
			cont.tasks[d.tree.Tasks[i].ID] = &d.tree.Tasks[i]
		}
		cont.reps = map[plan.Ref]*kind.TaskNode{{Site: plan.Task, ID: 1}: &d.tree.Tasks[0], {Site: plan.Task, ID: 2}: &d.tree.Tasks[1]}
		if cont.records, err = decodeRecords(d.m.Records, wornTable()); err != nil {
			t.Fatal(err)
		}
		p := &prospect{content: cont, files: map[string]*found{"inode 1": {path: "/bin/one"}}, steps: cont.plan(kind.Host{})}
		ids, err := credmap.New([]credmap.Range{{From: 5, To: 10, Count: 3}}, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		ids.UID(5)
		w := wanting{ids: ids, rights: rights{user(10), p.files, nil}, seen: map[[2]string]bool{}}
		w.privileged = w.spaces(p)
		w.memories(p)
		if len(w.all) != len(c.want) {
			t.Errorf("%s: %+v", name, w.all)
			continue
		}
		for i, got := range w.all {
			from := map[string]uint32{`process 100 ("one")`: 5, `process 102 ("two")`: 12}[c.want[i]]
			if got.Object != c.want[i] || got.UID == nil || got.UID.From != from || got.Own {
				t.Errorf("%s: %+v %+v", name, got, got.UID)
			}
		}
		if len(w.all) > 0 && c.want[0] == `process 100 ("one")` && w.all[0].Need.Demand != "memory:/bin/one" {
			t.Errorf("%s: %+v", name, w.all[0])
		}
	}
}
