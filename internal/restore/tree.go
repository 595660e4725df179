package restore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// grow makes all tasks of the tree, with their numbers, as empty copies of
// the stub, and joins them into their sessions and groups.
func (s *session) grow() (err error) {
	if s.route == Cycled || s.route == LastPID {
		if s.counter, err = s.newCounter(); err != nil {
			return err
		}
		defer s.counter.close()
	}
	root := s.family(nil)[0]
	flags := uint64(unix.CLONE_PARENT) // rstr's child
	if s.opts.Detach {
		flags = 0 // the stub's, which ends before the tree runs
	}
	if err := s.clone(nil, []birth{{node: root, flags: flags}}); err != nil {
		return err
	}
	if err := s.leaveStub(); err != nil {
		return err
	}
	if err := s.growBelow(s.bodies[root.ID]); err != nil {
		return err
	}
	if err := s.joinGroups(); err != nil {
		return err
	}
	return s.retire(kind.Vacant)
}

// birth is a process that another is to clone.
type birth struct {
	node  *kind.TaskNode
	flags uint64
}

// family lists the processes that b clones: its children, and those siblings
// that share more with it than with their parent. Nil is the stub.
func (s *session) family(b *body) []*kind.TaskNode {
	if b == nil {
		return []*kind.TaskNode{&s.tree.Tasks[0]}
	}
	return s.clones[b.node]
}

// growBelow makes the children of a process. A child starts in the session
// that its parent has at that moment, so those of an older session come
// before the parent opens its own (setsid(2)).
func (s *session) growBelow(b *body) error {
	if err := s.makeReady(b); err != nil {
		return fmt.Errorf("process %d: %w", b.node.PID, err)
	}
	var before, after []birth
	for _, n := range s.family(b) {
		x := birth{node: n, flags: s.shared(n, b.node)}
		if n.Parent != kind.TaskRef(b.node.ID) {
			x.flags |= unix.CLONE_PARENT
		}
		if b.node.Session == b.node.PID && n.Session != b.node.PID && n.Session != n.PID {
			before = append(before, x)
		} else {
			after = append(after, x)
		}
	}
	if err := s.clone(b, before); err != nil {
		return err
	}
	if cs := s.lead(b); len(cs) > 0 {
		if err := s.run(b, cs...); err != nil {
			return err
		}
	}
	if err := s.clone(b, after); err != nil {
		return err
	}
	if err := s.cloneThreads(b); err != nil {
		return err
	}
	for _, x := range append(before, after...) {
		if err := s.growBelow(s.bodies[x.node.ID]); err != nil {
			return err
		}
	}
	return nil
}

// lead are the calls that make a process the leader of its session or group, if
// it is one and is not yet.
func (s *session) lead(b *body) []plan.Call {
	n := b.node
	switch {
	case b.group == n.PID:
	case n.Session == n.PID:
		b.session, b.group = n.PID, n.PID
		return []plan.Call{{Nr: unix.SYS_SETSID}}
	case n.Group == n.PID:
		b.group = n.PID
		return []plan.Call{{Nr: unix.SYS_SETPGID, Args: []plan.Arg{plan.Int(0), plan.Int(0)}}}
	}
	return nil
}

// run executes calls in the leader of a process.
func (s *session) run(b *body, cs ...plan.Call) error {
	if err := s.send(b, cs...); err != nil {
		return err
	}
	return s.await(b)
}

// send has the leader of a process begin to execute calls, so that many do at
// the same time.
func (s *session) send(b *body, cs ...plan.Call) error {
	p := newProgram(s, b)
	for _, c := range cs {
		if err := p.Add(c, nil); err != nil {
			return err
		}
	}
	return b.failed(b.space.Start(b.leader, p.Inject))
}

// await waits until the calls that were sent to leaders have ended.
func (s *session) await(bs ...*body) error {
	for _, b := range bs {
		b.space.End(b.leader)
	}
	var first error
	for _, b := range bs {
		if err := b.failed(b.space.Finish(b.leader)); first == nil {
			first = err
		}
	}
	return first
}

func (b *body) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("process %d: %w", b.node.PID, err)
}

func newProgram(s *session, b *body) *calls.Program { return s.emptyProgram(s.newNames(b)) }

// emptyProgram is one without calls. It ends in a trap as long as no task has signals.
func (s *session) emptyProgram(n *names) *calls.Program {
	p := calls.NewProgram(n)
	if !s.armed {
		p.Inject.Trap()
	}
	return p
}

// clone makes processes as children (or siblings) of b; nil is the stub.
func (s *session) clone(b *body, births []birth) error {
	if len(births) == 0 {
		return nil
	}
	by := []cloner{s.clonerOf(b)}
	n := s.helpers(b, births)
	if n > 0 {
		if err := s.cloneBy(by, b, births[:n], false); err != nil {
			return err
		}
	}
	for _, x := range births[:n] {
		c := s.clonerOf(s.bodies[x.node.ID])
		c.sibling = true
		by = append(by, c)
	}
	return s.cloneBy(by, b, births[n:], true)
}

// cloneBy makes them, as whoever clones them. Ripe: they do by themselves what
// they can.
func (s *session) cloneBy(by []cloner, b *body, births []birth, ripe bool) error {
	var all []*newborn
	for _, x := range births {
		nb := s.newBody(b, x)
		n := &newborn{args: abi.CloneArgs{Flags: x.flags | unix.CLONE_PTRACE, ExitSignal: uint64(x.node.ExitSignal)}, pid: x.node.PID,
			forked: x.flags&unix.CLONE_VM == 0, discard: s.discardProcess(b, x)}
		if ripe && n.forked && !s.hasMore(nb.node, b) {
			var err error
			if n.born, n.bare, err = s.infancy(nb); err != nil {
				return err
			}
		}
		n.adopt = func() (*doing, error) { return s.adopt(nb, b, by[0].space, n) }
		all = append(all, n)
	}
	return s.makeAll(by, all)
}

// hasMore says whether a process has more to do while the tree grows than it can
// by itself: to clone, or to execute a file.
func (s *session) hasMore(n *kind.TaskNode, cloner *body) bool {
	return s.counter != nil || len(s.clones[n]) > 0 || len(n.Threads) > 1 || cloner != nil && s.executesOwn(n, cloner.node)
}

// infancy is all that another process has to do then: a program, if that is more
// than to give up what was lent.
func (s *session) infancy(nb *body) (born *calls.Program, alike bool, err error) {
	cs := s.lead(nb)
	if len(cs) == 0 {
		return nil, true, nil
	}
	if s.opts.Lent != 0 {
		cs = append(cs, bare()...)
	}
	born, err = s.compiled(nb, cs)
	return born, false, err
}

func (s *session) newBody(parent *body, x birth) *body {
	nb := &body{node: x.node, threads: map[uint32]*inject.Thread{}, used: s.newTable()}
	if parent != nil {
		nb.session, nb.group = parent.session, parent.group
	}
	if x.flags&unix.CLONE_FILES != 0 {
		nb.used = parent.used // they are one table
	}
	return nb
}

// adopt waits for a process that was made, and lets it begin with what it is to
// do by itself.
func (s *session) adopt(nb, cloner *body, space *inject.Space, n *newborn) (_ *doing, err error) {
	if n.forked {
		nb.space, nb.leader, err = space.AdoptProcess(int(s.number(n.pid)), injected(n.born))
	} else {
		nb.space = space
		nb.leader, err = space.AdoptThread(int(s.number(n.pid)), injected(n.born))
	}
	if err != nil {
		return nil, err
	}
	if len(nb.node.Threads) > 0 {
		nb.threads[nb.node.Threads[0].ID] = nb.leader
	}
	s.bodies[nb.node.ID] = nb
	return &doing{nb, nb.leader, n.born}, s.embody(nb, cloner)
}

func injected(p *calls.Program) *inject.Program {
	if p == nil {
		return nil
	}
	return p.Inject
}

// cloneCall makes one task, with a number of our choice (clone3(2), set_tid)
// if the route leads there.
func (s *session) cloneCall(a abi.CloneArgs, pid kind.PID) plan.Call {
	if s.route.renumbers() || s.counter != nil {
		return plan.Call{Nr: unix.SYS_CLONE3, Args: []plan.Arg{plan.Buf(a.Encode()), plan.Int(abi.SizeofCloneArgs)}}
	}
	a.SetTIDSize = 1
	tid := abi.CloneArgsSetTID
	number := []byte{byte(pid), byte(pid >> 8), byte(pid >> 16), byte(pid >> 24)}
	return plan.Call{Nr: unix.SYS_CLONE3, Args: []plan.Arg{
		plan.Buf(a.Encode(), plan.Reloc{Off: tid, Size: 8, Arg: plan.Buf(number)}),
		plan.Int(abi.SizeofCloneArgs)}, Ret: plan.Exactly(int64(pid))}
}

// cloneThreads makes the other threads of a process.
func (s *session) cloneThreads(b *body) error {
	if len(b.node.Threads) < 2 {
		return nil
	}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
		unix.CLONE_SYSVSEM | unix.CLONE_PTRACE
	var all []*newborn
	for i := range b.node.Threads[1:] {
		th := &b.node.Threads[i+1]
		n := &newborn{args: abi.CloneArgs{Flags: flags}, pid: th.TID, bare: true, discard: s.discardThread(b)}
		n.adopt = func() (*doing, error) {
			t, err := b.space.AdoptThread(int(s.number(n.pid)), injected(n.born))
			b.threads[th.ID] = t
			return &doing{b, t, n.born}, err
		}
		all = append(all, n)
	}
	return s.makeAll([]cloner{s.clonerOf(b)}, all)
}

// cloneError names the number that was not to be had.
func cloneError(p *calls.Program, err error) error {
	tag, _, ok := p.Failed()
	pid, isPID := tag.(kind.PID)
	if !ok || !isPID {
		return err
	}
	if errors.Is(err, unix.EEXIST) {
		return &TakenError{PIDs: []Taken{takenBy(int(pid))}}
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("making process %d: original PIDs want CAP_CHECKPOINT_RESTORE: %w", pid, err)
	}
	return fmt.Errorf("making process %d: %w", pid, err)
}

// joinGroups has every process join its group, now that all leaders are there.
func (s *session) joinGroups() error {
	var all []*body
	for i := range s.tree.Tasks {
		b := s.bodies[s.tree.Tasks[i].ID]
		want := s.group(b.node.Group)
		if want == s.group(b.group) {
			continue
		}
		if want == 0 { // rstr's own, which has no number in this namespace
			return &HostError{fmt.Sprintf("process %d: the process group that it is to join can't be joined from a new PID namespace", b.node.PID)}
		}
		if err := s.send(b, plan.Call{Nr: unix.SYS_SETPGID, Args: []plan.Arg{plan.Int(0), plan.Int(uint32(want))}}); err != nil {
			return err
		}
		b.group = b.node.Group
		all = append(all, b)
	}
	if err := s.await(all...); err != nil {
		return fmt.Errorf("joining its process group: %w", err)
	}
	return nil
}

// group is the number of a recorded process group; 0 is rstr's.
func (s *session) group(recorded kind.PID) kind.PID {
	if recorded == 0 {
		return kind.PID(kernelio.ProcessGroup())
	}
	return s.number(recorded)
}

// shared gives the clone flags for what two processes share.
func (s *session) shared(n, m *kind.TaskNode) uint64 {
	if !alive(n) {
		return 0
	}
	var f uint64
	for _, x := range []struct {
		same bool
		flag uint64
	}{{n.MM == m.MM, unix.CLONE_VM}, {n.FDTable == m.FDTable, unix.CLONE_FILES},
		{n.FS == m.FS, unix.CLONE_FS}, {n.SigHand == m.SigHand, unix.CLONE_SIGHAND}} {
		if x.same {
			f |= x.flag
		}
	}
	return f
}
