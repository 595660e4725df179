package restore

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// The link /proc/PID/exe can be set by those who have CAP_CHECKPOINT_RESTORE
// (PR_SET_MM_MAP). For everybody else a process has it who has executed the
// file: the stub does so before the root is cloned from it, and whoever has
// another file than its cloner as soon as it is there. Nothing of the file runs.

// programs finds which file each address space executes, as far as the kinds
// say so.
func (c *content) programs() map[uint32]kind.InodeRef {
	out := map[uint32]kind.InodeRef{}
	for i := range c.records {
		r := &c.records[i]
		if x, ok := r.body.(kind.Executes); ok && r.ref.Site == plan.MM {
			out[r.ref.ID] = x.Executable()
		}
	}
	return out
}

// openPrograms opens the files that the tree executes, and nothing else.
func (s *session) openPrograms() error {
	if !s.executes {
		return nil
	}
	s.program, s.born, s.aside = s.programs(), map[uint32][]moved{}, map[uint32]bool{}
	wanted := map[plan.Ref]bool{}
	for _, exe := range s.program {
		wanted[exe.Main()] = true
	}
	early := map[*step]bool{}
	for st := range s.upTo(plan.Create) {
		if slices.ContainsFunc(makes(st), func(r plan.Ref) bool { return wanted[r] }) {
			early[st] = true
		}
	}
	s.addNeeded(plan.Create, early)
	return missing(s.runTool(s.these(plan.Create, early)))
}

// embodyStub has the stub execute the root's file.
func (s *session) embodyStub() error {
	if !s.executes {
		return nil
	}
	b := &body{node: &s.tree.Tasks[0], space: s.stub.Space, leader: s.stub.Thread, used: s.newTable()}
	return s.execute(b, s.program[b.node.MM])
}

// executesOwn says whether a process is to execute another file than its cloner
// has.
func (s *session) executesOwn(n, cloner *kind.TaskNode) bool {
	return s.executes && alive(n) && alive(cloner) && s.program[n.MM] != s.program[cloner.MM]
}

// embody has a process execute its file, if that is not what its cloner, b's
// parent or sibling, has executed.
func (s *session) embody(b, cloner *body) error {
	if !s.executes || !alive(b.node) || cloner == nil || !alive(cloner.node) || b.node.MM == cloner.node.MM {
		return nil
	}
	exe := s.program[b.node.MM]
	if !s.executesOwn(b.node, cloner.node) {
		s.born[b.node.MM], s.aside[b.node.MM] = s.born[cloner.node.MM], s.cleared[cloner.node.MM]
		return nil
	}
	if s.shared(b.node, cloner.node) != 0 || s.forks != nil && len(s.forks[b.node.MM].keep) > 0 {
		return fmt.Errorf("process %d: it shares memory, descriptors or directories with process %d, which has another program: that takes CAP_CHECKPOINT_RESTORE",
			b.node.PID, cloner.node.PID)
	}
	if err := s.execute(b, exe); err != nil {
		return err
	}
	var err error
	s.born[b.node.MM], err = s.specials(b.leader.TID(), b.space)
	return err
}

// execute has the only thread of a process execute a file.
func (s *session) execute(b *body, exe kind.InodeRef) error {
	if exe == 0 {
		return nil
	}
	file, ok := s.made[exe.Main()]
	if !ok {
		return fmt.Errorf("process %d: nothing opens its executable file", b.node.PID)
	}
	err := s.handOver(b, int(file), func(fd int) error {
		keep := plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Int(s.ctl), plan.Int(unix.F_SETFD), plan.Int(0)}}
		return errors.Join(s.run(b, keep), b.space.Exec(b.leader, fd))
	})
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOEXEC) || errors.Is(err, unix.ETXTBSY) {
		return &HostError{fmt.Sprintf("process %d: its executable file can't be executed: %v", b.node.PID, err)}
	}
	if err != nil {
		return err
	}
	return s.handOver(b, s.barrier.FD(), func(fd int) error {
		if err := b.space.MapBarrier(b.leader, fd); err != nil {
			return err
		}
		return s.run(b, plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Int(s.ctl), plan.Int(unix.F_SETFD), plan.Int(unix.FD_CLOEXEC)}})
	})
}

// handOver gives a process a descriptor of the tool's, which use closes.
func (s *session) handOver(b *body, mine int, use func(fd int) error) error {
	if err := kernelio.SendFDs(s.socket.Int(), []byte{0}, mine); err != nil {
		return fmt.Errorf("handing over a descriptor: %w", err)
	}
	if err := s.run(b, receive(s.ctl, 1)); err != nil {
		return err
	}
	fd := b.lowestFree()
	delete(b.used, fd)
	return use(fd)
}
