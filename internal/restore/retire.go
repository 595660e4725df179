package restore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// retire ends the processes of one state: zombies, which die as they did, and
// vacant leaders, which leave nothing behind.
func (s *session) retire(state kind.State) error {
	for i := range s.tree.Tasks {
		n := &s.tree.Tasks[i]
		if n.State != state {
			continue
		}
		b := s.bodies[n.ID]
		if err := s.die(b); err != nil {
			return fmt.Errorf("process %d: %w", n.PID, err)
		}
		delete(s.bodies, n.ID)
		if state == kind.Vacant {
			if err := s.reap(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// die has a process end with its recorded wait status (wait(2)): an exit code
// in the second byte, or the signal that killed it in the first.
func (s *session) die(b *body) error {
	sig, code := b.node.Exit&0x7f, b.node.Exit>>8&0xff
	cs := append(s.shed(b), plan.Call{Nr: unix.SYS_PRCTL, Args: []plan.Arg{plan.Int(unix.PR_SET_NAME), plan.Str(string(b.node.Comm))}})
	if sig == 0 {
		cs = append(cs, plan.Call{Nr: unix.SYS_EXIT_GROUP, Args: []plan.Arg{plan.Int(code)}})
	} else {
		cs = append(cs, killSelf(s.number(b.node.PID), sig)...)
	}
	err := s.run(b, cs...)
	if errors.Is(err, inject.ErrGone) {
		return nil
	}
	if errors.Is(err, inject.ErrHealed) { // its memory went before its death was to be seen
		if st, werr := kernelio.Reap(int(s.number(b.node.PID))); werr == nil && (st.Exited() || st.Signaled()) {
			return nil
		}
	}
	return fmt.Errorf("it did not end as it should: %w", err)
}

// killSelf has a task die of a signal: unblocked, with the default action
// that the stub has, and without a core.
func killSelf(pid kind.PID, sig uint32) []plan.Call {
	return []plan.Call{
		{Nr: unix.SYS_PRLIMIT64, Args: []plan.Arg{plan.Int(0), plan.Int(unix.RLIMIT_CORE), plan.Buf(make([]byte, 16)), plan.Int(0)}},
		{Nr: unix.SYS_KILL, Args: []plan.Arg{plan.Int(int32(pid)), plan.Int(sig)}},
		{Nr: unix.SYS_RT_SIGPROCMASK, Args: []plan.Arg{plan.Int(unix.SIG_SETMASK), plan.Buf(make([]byte, 8)), plan.Int(0), plan.Int(8)}},
	}
}

// reap takes a dead helper away, in the name of its parent.
func (s *session) reap(n *kind.TaskNode) error {
	if n.Parent == 0 {
		_, err := kernelio.Reap(int(s.number(n.PID)))
		return err
	}
	return s.run(s.bodies[uint32(n.Parent)], plan.Call{Nr: unix.SYS_WAIT4,
		Args: []plan.Arg{plan.Int(int32(s.number(n.PID))), plan.Int(0), plan.Int(unix.WALL), plan.Int(0)}})
}

// forgetChildren drops the SIGCHLD that the deaths of helpers and zombies
// left pending in their parents: setting a signal to be ignored discards it
// (do_sigaction in kernel/signal.c).
func (s *session) forgetChildren() error {
	const sigIgn = 1
	parents := s.bereaved
	for i := range s.tree.Tasks {
		n := &s.tree.Tasks[i]
		if b := s.bodies[uint32(n.Parent)]; !alive(n) && b != nil {
			parents = append(parents, b)
		}
	}
	done := map[*body]bool{}
	for _, b := range parents {
		if done[b] || s.bodies[b.node.ID] != b {
			continue
		}
		done[b] = true
		ignore, dfl := make([]byte, 32), make([]byte, 32) // struct sigaction of the kernel
		ignore[0] = sigIgn
		err := s.run(b,
			plan.Call{Nr: unix.SYS_RT_SIGACTION, Args: []plan.Arg{plan.Int(int(unix.SIGCHLD)), plan.Buf(ignore), plan.Int(0), plan.Int(8)}},
			plan.Call{Nr: unix.SYS_RT_SIGACTION, Args: []plan.Arg{plan.Int(int(unix.SIGCHLD)), plan.Buf(dfl), plan.Int(0), plan.Int(8)}})
		if err != nil {
			return err
		}
	}
	return nil
}
