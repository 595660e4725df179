package restore

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/plan"
)

// maxCalls bounds a program, so that it fits into the memory that every
// process has for it.
const maxCalls = 2048

// turn is what one thread does in one program: the operations of several
// steps, with the descriptors that they need brought first.
type turn struct {
	body   *body
	thread *inject.Thread
	ops    []turnOp
	needs  []plan.Ref // descriptors of the tool
	made   map[plan.Ref]bool
	prog   *calls.Program
}

type turnOp struct {
	from *progress
	op   plan.Op // a plan.Call
}

// runTasks has every thread execute all that it can now, each in one
// program. They run at the same time, but for those that are handed
// descriptors: whoever looks first gets what was sent.
func (s *session) runTasks(ps []*progress) error {
	turns, err := s.turns(ps)
	if err != nil {
		return err
	}
	turns = slices.DeleteFunc(turns, func(t *turn) bool { return len(t.ops) == 0 })
	for _, t := range turns {
		if err := s.start(t); err != nil {
			return err
		}
		if len(t.needs) > 0 {
			t.body.space.End(t.thread)
		}
	}
	for _, t := range turns {
		t.body.space.End(t.thread)
	}
	for _, t := range turns {
		if err := s.finish(t); err != nil {
			return err
		}
	}
	return nil
}

// turns sorts the operations that can run now by the thread that runs them.
func (s *session) turns(ps []*progress) ([]*turn, error) {
	var order []*turn
	byThread := map[*inject.Thread]*turn{}
	for _, p := range ps {
		for !p.done() {
			c, ok := p.op().(plan.Call)
			if !ok || c.In.IsZero() {
				break
			}
			b, th, err := s.actor(c.In)
			if err != nil {
				return nil, p.step.failed(err)
			}
			t := byThread[th]
			if t == nil {
				t = &turn{body: b, thread: th, made: map[plan.Ref]bool{}}
				byThread[th] = t
				order = append(order, t)
			}
			if len(t.ops) >= maxCalls || !s.taskReady(t, c.Args) {
				break
			}
			t.add(p, c, s)
			p.step.next++
		}
	}
	return order, nil
}

// taskReady says whether everything that a call of a task names is there, or
// is made by a call before it in the same program.
func (s *session) taskReady(t *turn, args []plan.Arg) bool {
	for _, a := range args {
		switch a.Kind {
		case plan.ArgResult, plan.ArgFD:
			if !s.has(a.Ref) && !t.made[a.Ref] {
				return false
			}
		}
		for _, r := range a.Relocs {
			if !s.taskReady(t, []plan.Arg{r.Arg}) {
				return false
			}
		}
	}
	return true
}

func (t *turn) add(p *progress, c plan.Call, s *session) {
	t.needFDs(c.Args, s)
	t.ops = append(t.ops, turnOp{from: p, op: p.op()})
	if !c.Out.IsZero() {
		t.made[c.Out] = true
	}
}

// needFDs notes the descriptors of the tool that a call names.
func (t *turn) needFDs(args []plan.Arg, s *session) {
	for _, a := range args {
		if a.Kind == plan.ArgFD && s.mustBring(a.Ref) && !t.made[a.Ref] && !t.needed(a.Ref) {
			t.needs = append(t.needs, a.Ref)
		}
		for _, r := range a.Relocs {
			t.needFDs([]plan.Arg{r.Arg}, s)
		}
	}
}

// mustBring says whether a task has a descriptor of the tool's only if it is
// sent.
func (s *session) mustBring(r plan.Ref) bool {
	_, ours := s.made[r]
	_, there := s.handed[r]
	return ours && !there
}

func (t *turn) needed(r plan.Ref) bool {
	for _, n := range t.needs {
		if n == r {
			return true
		}
	}
	return false
}

// start compiles a turn and sets its thread going.
func (s *session) start(t *turn) error {
	n := s.newNames(t.body)
	t.prog = s.emptyProgram(n)
	fds, err := s.bring(t, n)
	if err != nil {
		return err
	}
	t.prog.Grow(len(t.ops) + len(fds) + 1)
	for _, op := range t.ops {
		for _, c := range s.lowered(op.from.step, op.op.(plan.Call)) {
			if err := t.prog.Add(c, op.from.step); err != nil {
				return op.from.step.failed(err)
			}
		}
	}
	for _, fd := range fds {
		if err := t.prog.Add(closeCall(fd), nil); err != nil {
			return err
		}
	}
	return t.body.space.Start(t.thread, t.prog.Inject)
}

func closeCall(fd int) plan.Call {
	return plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.Int(fd)}}
}

// finish waits for a turn to end and learns its results.
func (s *session) finish(t *turn) error {
	err := t.body.space.Finish(t.thread)
	var ce *inject.CallError
	if err == nil || errors.As(err, &ce) {
		for c := range t.prog.Succeeded {
			s.mayUndo(c, plan.Result{})
		}
	}
	if err != nil {
		return t.explain(err)
	}
	if tag, err := t.prog.Check(); err != nil {
		return failedTag(tag, err)
	}
	t.prog.Made(func(r plan.Ref, v int64) { s.inTask[r] = v })
	return nil
}

// explain leads an error of a program back to the step that it belongs to.
func (t *turn) explain(err error) error {
	var ce *inject.CallError
	if !errors.As(err, &ce) {
		return fmt.Errorf("process %d: %w", t.body.node.PID, err)
	}
	if tag, _, ok := t.prog.Failed(); ok {
		return failedTag(tag, err)
	}
	return err
}

func failedTag(tag any, err error) error {
	if st, ok := tag.(*step); ok {
		return st.failed(err)
	}
	return err
}
