package restore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kind"
)

// commit lets the whole tree run, in one event. Before it every thread is
// parked: its final registers stand ready, and if the tool dies it looks at
// the barrier, to run or to end. Only then is the tool's death no longer the
// tree's (PTRACE_O_EXITKILL), and only after the barrier is set do threads go.
func (s *session) commit() error {
	if err := s.forgetSocket(); err != nil {
		return err
	}
	xstates, err := s.readXStates()
	if err != nil {
		return err
	}
	var all []parked
	for i := range s.tree.Tasks {
		b := s.bodies[s.tree.Tasks[i].ID]
		if b == nil {
			continue
		}
		if all, err = s.park(b, xstates, all); err != nil {
			return fmt.Errorf("process %d: %w", b.node.PID, err)
		}
	}
	s.closeOwned() // or a task could see the tool at the other end of its pipe
	for _, p := range all {
		if err := p.Thread.SetOptions(0); err != nil {
			return err
		}
	}
	s.barrier.Commit()
	return s.release(all)
}

// parked is a thread at the barrier.
type parked struct {
	inject.Parked
	first bool // to be released before others: it stays stopped
}

// park prepares the threads of a process, its leader last.
func (s *session) park(b *body, xstates []byte, all []parked) ([]parked, error) {
	nodes := b.node.Threads
	for i := len(nodes) - 1; i >= 0; i-- {
		n := &nodes[i]
		st, err := state(n, xstates)
		if err != nil {
			return nil, fmt.Errorf("thread %d: %w", n.TID, err)
		}
		stop := i == 0 && b.node.State == kind.Stopped
		if err := b.space.Park(b.threads[n.ID], st, stop); err != nil {
			return nil, err
		}
		all = append(all, parked{inject.Parked{Space: b.space, Thread: b.threads[n.ID], Last: i == 0 && s.lastOf(b)},
			b.node.State == kind.Stopped && s.alone(b)})
	}
	return all, nil
}

// alone says whether nobody shares the address space of b.
func (s *session) alone(b *body) bool {
	return !slices.ContainsFunc(s.tree.Tasks, func(n kind.TaskNode) bool {
		return alive(&n) && n.MM == b.node.MM && n.ID != b.node.ID
	})
}

// lastOf says whether no later process shares the address space of b.
func (s *session) lastOf(b *body) bool {
	last := b.node
	for i := range s.tree.Tasks {
		if n := &s.tree.Tasks[i]; alive(n) && n.MM == b.node.MM {
			last = n
		}
	}
	return last == b.node
}

// state is what a thread is to go on with. checkThread has seen it.
func state(n *kind.ThreadNode, xstates []byte) (abi.TaskState, error) {
	end := n.XStateOff + uint64(n.XStateLen)
	if end > uint64(len(xstates)) {
		return abi.TaskState{}, fmt.Errorf("its extended registers lie outside of the image")
	}
	regs, err := regsOf(n)
	return abi.TaskState{Regs: regs, XState: xstates[n.XStateOff:end], Mask: abi.SigSet(n.Mask)}, err
}

// regsOf are the general registers of a thread that runs 64-bit code.
func regsOf(n *kind.ThreadNode) (abi.Regs, error) {
	var raw []byte
	for _, w := range n.Regs {
		raw = append64(raw, w)
	}
	r, err := abi.ParseRegs(raw)
	if err == nil && r.Cs != abi.CS64 {
		err = fmt.Errorf("it runs 32-bit code")
	}
	return r, err
}

func append64(b []byte, w uint64) []byte {
	for i := range 8 {
		b = append(b, byte(w>>(8*i)))
	}
	return b
}

func (s *session) readXStates() ([]byte, error) {
	if s.tree.XState == 0 {
		return nil, nil
	}
	return s.img.ReadBlob(s.manifest.Blobs[s.tree.XState-1], maxXState*uint64(len(s.threads)))
}

// forgetSocket closes the tasks' end of the socket, if they have it yet.
func (s *session) forgetSocket() error {
	if s.ctl == 0 {
		return nil
	}
	return s.inTables(closeCall(s.ctl))
}

// release lets all threads go: first the stopped processes, so that a parent
// that looks finds them so. The tree runs, whatever is reported.
func (s *session) release(all []parked) error {
	var errs []error
	for _, first := range []bool{true, false} {
		var some []inject.Parked
		for _, p := range all {
			if p.first == first {
				some = append(some, p.Parked)
			}
		}
		errs = append(errs, s.tracer.Release(some))
	}
	if err := errors.Join(errs...); err != nil {
		return &AfterError{err}
	}
	return nil
}

// AfterError is what went wrong after the commit: the tree runs.
type AfterError struct{ Err error }

func (e *AfterError) Error() string { return "the tree runs, but: " + e.Err.Error() }

func (e *AfterError) Unwrap() error { return e.Err }
