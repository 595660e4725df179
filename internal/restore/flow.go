package restore

import (
	"bytes"
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// flow is who makes what in a plan. Every kind's steps make sense if the
// objects that its record refers to are of the kinds that a dump would have
// found there. An image may say otherwise: that the peer of a socket, into
// which its messages are written, is a file of the caller's. So the results
// that steps hand to each other are checked before anything is done.
type flow struct {
	c     *content
	makes map[plan.Ref]making
}

// making is the first operation of a plan that makes a result.
type making struct {
	step *step
	op   int
	tool bool // it runs in the tool
}

func (m making) call() plan.Call { return m.step.Ops[m.op].(plan.Call) }

// checkFlow refuses a plan in which a result is made in two ways, or never,
// or too late; bulk data that would be written into what another kind made;
// and processes that are not of the tree.
func (c *content) checkFlow(steps []step) error {
	if err := checkNever(steps); err != nil {
		return err
	}
	f := &flow{c, make(map[plan.Ref]making, len(steps))}
	for i := range steps {
		if err := f.collect(&steps[i]); err != nil {
			return steps[i].failed(bad("%w", err))
		}
	}
	for i := range steps {
		if err := f.check(&steps[i]); err != nil {
			return steps[i].failed(bad("%w", err))
		}
	}
	return f.checkTables()
}

// collect notes what a step makes.
func (f *flow) collect(st *step) error {
	for i := range st.Ops {
		c, ok := st.Ops[i].(plan.Call)
		if !ok {
			continue
		}
		m := making{st, i, c.In.IsZero()}
		if err := f.add(m, c.Out); err != nil {
			return err
		}
		for _, a := range c.Args {
			for name := range a.Made {
				if err := f.add(m, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add lets several records ask for the same result by the same call; the
// engine makes it once. One record may use a name as often as it likes.
func (f *flow) add(m making, name plan.Ref) error {
	if name.IsZero() {
		return nil
	}
	first, ok := f.makes[name]
	switch {
	case !ok:
		f.makes[name] = m
	case first.step.ref == m.step.ref && first.step.kind == m.step.kind, sameCall(first.call(), m.call()):
	default:
		return fmt.Errorf("%s is to be made in another way too (%s)", name, first.step.Text)
	}
	return nil
}

func sameCall(a, b plan.Call) bool {
	if a.Nr != b.Nr || a.In != b.In || a.As != b.As || a.Out != b.Out || len(a.Args) != len(b.Args) {
		return false
	}
	for i := range a.Args {
		x, y := &a.Args[i], &b.Args[i]
		if x.Kind != y.Kind || x.Val != y.Val || x.Ref != y.Ref || x.Delta != y.Delta ||
			len(x.Relocs)+len(y.Relocs) > 0 || !bytes.Equal(x.Buf, y.Buf) {
			return false
		}
	}
	return true
}

// check looks at everything that the operations of a step name.
func (f *flow) check(st *step) error {
	for i := range st.Ops {
		switch o := st.Ops[i].(type) {
		case plan.Move:
			m, ok := f.makes[o.Into]
			if !ok || m.step.kind != st.kind || !m.tool {
				return fmt.Errorf("its contents would go into %s, which is another kind's", o.Into)
			}
		case plan.Call:
			if !f.c.acts(o.In) || !f.c.acts(o.As) {
				return fmt.Errorf("no process acts for %s", o.In)
			}
			for j := range o.Args {
				if err := f.checkArg(st, o.In.IsZero(), &o.Args[j]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *flow) checkArg(st *step, tool bool, a *plan.Arg) error {
	switch a.Kind {
	case plan.ArgResult, plan.ArgFD, plan.ArgFDPath:
		if err := f.checkName(st, tool, a); err != nil {
			return err
		}
	case plan.ArgPID, plan.ArgClock:
		if pid := kind.PID(uint32(a.Val)); !f.c.byPID[pid] {
			return fmt.Errorf("process %d is not part of the tree", pid)
		}
	}
	for j := range a.Relocs {
		if err := f.checkArg(st, tool, &a.Relocs[j].Arg); err != nil {
			return err
		}
	}
	return nil
}

func (f *flow) checkName(st *step, tool bool, a *plan.Arg) error {
	if a.Ref.Site == plan.MM && a.Ref.Slot > 0 && a.Ref.Slot < kind.SlotMMOther {
		return nil // the kernel's own mappings, which the engine finds
	}
	m, ok := f.makes[a.Ref]
	switch {
	case !ok:
		return fmt.Errorf("nothing makes %s", a.Ref)
	case m.step.Stage > st.Stage:
		return fmt.Errorf("%s is made later", a.Ref)
	case a.Kind != plan.ArgResult && tool && !m.tool:
		return fmt.Errorf("%s is a process's", a.Ref)
	}
	return nil
}

// checkTables wants every descriptor to lead to what the tool makes.
func (f *flow) checkTables() error {
	for i := range f.c.tree.FDTables {
		for _, fd := range f.c.tree.FDTables[i].FDs {
			if m, ok := f.makes[fd.File.Main()]; !ok || !m.tool || m.step.Stage >= plan.Settle {
				return bad("descriptor %d of table %d: nothing makes %s", fd.Num, f.c.tree.FDTables[i].ID, fd.File.Main())
			}
		}
	}
	return nil
}

// acts says whether some process, or the tool, can make calls for an object.
func (c *content) acts(r plan.Ref) bool {
	switch r.Site {
	case plan.None:
		return true
	case plan.OpenFile, plan.Inode, plan.Namespace:
		return false
	}
	r.Slot = 0
	return c.known(r)
}
