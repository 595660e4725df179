package restore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/plan"
)

// carryOut executes the steps of a stage. The calls of one step keep their
// order; between steps, the flow of results decides: a step waits until the
// results that its next call names are there. Tool and tasks take turns.
func (s *session) carryOut(stage plan.Stage) error {
	return s.carry(progressOf(s.at(stage)))
}

func (s *session) carry(rest []*progress) error {
	for len(rest) > 0 {
		before := remaining(rest)
		if err := s.runTool(rest); err != nil {
			return err
		}
		if err := s.runTasks(rest); err != nil {
			return err
		}
		rest = unfinished(rest)
		if len(rest) > 0 && remaining(rest) == before {
			return rest[0].step.failed(fmt.Errorf("it waits for a result that nothing makes"))
		}
	}
	return nil
}

// progress is a step under way; the step itself knows how far it has come.
type progress struct{ step *step }

func (p *progress) op() plan.Op { return p.step.Ops[p.step.next] }

func (p *progress) done() bool { return p.step.next == len(p.step.Ops) }

func progressOf(steps []step) []*progress {
	var out []*progress
	for i := range steps {
		if st := &steps[i]; st.next < len(st.Ops) {
			out = append(out, &progress{step: &steps[i]})
		}
	}
	return out
}

func remaining(ps []*progress) int {
	n := 0
	for _, p := range ps {
		n += len(p.step.Ops) - p.step.next
	}
	return n
}

func unfinished(ps []*progress) []*progress {
	var out []*progress
	for _, p := range ps {
		if !p.done() {
			out = append(out, p)
		}
	}
	return out
}

// runTool executes everything that the tool can do now.
func (s *session) runTool(ps []*progress) error {
	for moved := true; moved; {
		moved = false
		for _, p := range ps {
			for !p.done() && s.ready(p.op()) {
				err := s.act(p.step, p.op(), func() error { return s.toolOp(p.op()) })
				if err == nil {
					err = s.compare(p.op())
				}
				if err != nil {
					return p.step.failed(err)
				}
				p.step.next++
				moved = true
			}
		}
	}
	return nil
}

// open opens what the tree needs of this host.
func (s *session) open() error {
	return missing(s.runTool(progressOf(s.at(plan.Create))))
}

// missing tells a file that is not there from other errors.
func missing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return &HostError{err.Error()}
	}
	return err
}

// namesTree says whether a call may need the processes of the tree: it names
// one, or a path of /proc, which shows them, other than the tool's own.
func namesTree(args []plan.Arg) bool {
	for _, a := range args {
		path := bytes.HasPrefix(a.Buf, []byte("/proc/")) && !bytes.HasPrefix(a.Buf, []byte("/proc/self/"))
		if a.Kind == plan.ArgPID || a.Kind == plan.ArgClock || path {
			return true
		}
		for _, r := range a.Relocs {
			if namesTree([]plan.Arg{r.Arg}) {
				return true
			}
		}
	}
	return false
}

// ready says whether an operation is the tool's and has all that it names.
func (s *session) ready(op plan.Op) bool {
	switch o := op.(type) {
	case plan.Move:
		_, ok := s.made[o.Into]
		return ok
	case plan.Call:
		return o.In.IsZero() && s.hasAll(o.Args) && (s.stub != nil || len(s.bodies) > 0 || !namesTree(o.Args))
	}
	return false
}

func (s *session) hasAll(args []plan.Arg) bool {
	for _, a := range args {
		if names := a.Kind == plan.ArgResult || a.Kind == plan.ArgFD || a.Kind == plan.ArgFDPath; names && !s.has(a.Ref) {
			return false
		}
		for _, r := range a.Relocs {
			if !s.hasAll([]plan.Arg{r.Arg}) {
				return false
			}
		}
	}
	return true
}

func (s *session) has(r plan.Ref) bool {
	_, a := s.made[r]
	_, b := s.inTask[r]
	return a || b
}

func (s *session) toolOp(op plan.Op) error {
	if m, ok := op.(plan.Move); ok {
		return s.move(m)
	}
	c := op.(plan.Call)
	for _, r := range c.Makes() {
		if _, ok := s.made[r]; ok {
			return nil // another record asked for the same
		}
	}
	c.Args = s.renamed(c.Args)
	r, err := s.call(c)
	if err != nil {
		return err
	}
	s.mayUndo(c, r)
	c.Named(r, func(name plan.Ref, v int64) { s.learn(c, name, v) })
	return s.judged(c, r)
}

// judged wants a file that was judged to be the one that is now open, where
// more than the caller's own rights may come to be used for it. What lies in
// /proc was made with the tree.
func (s *session) judged(c plan.Call, r plan.Result) error {
	path, ok := finds(c)
	if !ok || !s.opts.Elevated || strings.HasPrefix(path, "/proc/") {
		return nil
	}
	f := s.files[c.Out.String()]
	if f == nil || f.ino == 0 {
		return fmt.Errorf("it was not there when it was judged")
	}
	return f.same(int(r.Ret))
}

// opens lists the calls whose results are descriptors, which the tool closes
// when the tree is done.
var opens = map[uintptr]bool{
	unix.SYS_OPEN: true, unix.SYS_OPENAT: true, unix.SYS_OPENAT2: true, unix.SYS_DUP: true, unix.SYS_EVENTFD2: true,
	unix.SYS_EPOLL_CREATE1: true, unix.SYS_TIMERFD_CREATE: true, unix.SYS_SIGNALFD4: true, unix.SYS_INOTIFY_INIT1: true,
	unix.SYS_MEMFD_CREATE: true, unix.SYS_PIDFD_OPEN: true, unix.SYS_SOCKET: true, unix.SYS_FCNTL: true,
	unix.SYS_PIPE2: true, unix.SYS_SOCKETPAIR: true,
}

// call makes a call of the tool, or has it made.
func (s *session) call(c plan.Call) (plan.Result, error) {
	if b := s.makerOf(c); b != nil {
		return s.fetch(b, c)
	}
	return calls.Tool(c, s.newNames(nil))
}

func (s *session) learn(c plan.Call, name plan.Ref, v int64) {
	s.made[name] = v
	if opens[c.Nr] && v > 2 {
		s.owned[int(v)] = true
	}
}

// mayUndo takes note of how to undo a call that was made.
func (s *session) mayUndo(c plan.Call, r plan.Result) {
	if r.Ret >= 0 && len(c.Undo) > 0 {
		s.undo = append(s.undo, c.Undo)
	}
}

// takeBack undoes what would outlive the tree, the last first.
func (s *session) takeBack() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		for _, c := range s.undo[i] {
			undo := func() error {
				_, err := calls.Tool(c, s.newNames(nil))
				return err
			}
			if c.As.IsZero() {
				aside(undo)
			} else {
				s.wear(c.As, undo)
			}
		}
	}
}
