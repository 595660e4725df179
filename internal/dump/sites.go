package dump

import (
	"errors"
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// gather finds all objects of the tree, once more if part of it was not frozen.
func (s *session) gather() error {
	failed := s.gatherFrozen()
	if whole, err := s.whole(); whole || err != nil {
		return errors.Join(failed, err)
	}
	return s.gatherFrozen()
}

// gatherFrozen finds all objects of what is frozen.
func (s *session) gatherFrozen() error {
	for _, step := range []func() error{s.gatherTasks, s.share, s.gatherFDs, s.gatherFS, s.gatherMMs, s.gatherNamespaces, s.findOutside} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// gatherTasks lists the tasks and threads and reads what they say of
// themselves.
func (s *session) gatherTasks() error {
	for _, p := range s.procs {
		if !p.zombie {
			s.addTask(p)
		}
	}
	err := parallel(len(s.threads), large, func(i int) error { return ofThread(s.threads[i], readThread(s.threads[i])) })
	if err != nil {
		return err
	}
	for _, th := range s.threads {
		if err := s.peekThread(th); err != nil {
			return ofThread(th, err)
		}
	}
	return nil
}

// ofThread says which thread an error is about.
func ofThread(th *kind.ThreadSite, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("thread %d of %s: %w", th.TID, taskName(th.Task), err)
}

func (s *session) addTask(p *process) {
	t := &kind.TaskSite{ID: uint32(len(s.tasks) + 1), PID: kind.PID(p.pid), Comm: p.stat.Comm,
		Proc: newProcFiles(p.dir, 0), Stat: p.stat, Do: s.doer(nil)}
	for _, tid := range p.tids {
		th := &kind.ThreadSite{ID: uint32(len(s.threads) + 1), TID: kind.PID(tid), Task: t, Leader: tid == p.pid,
			Proc: newProcFiles(p.dir, tid), Do: s.doer(nil)}
		t.Threads = append(t.Threads, th)
		s.threads = append(s.threads, th)
	}
	p.site = t
	s.tasks = append(s.tasks, t)
}

// readThread reads what a thread says of itself. What the first one says is
// said of its process as well.
func readThread(th *kind.ThreadSite) (err error) {
	if th.Status, err = status(th.Proc); err != nil {
		return err
	}
	if th.Leader {
		th.Task.Status = th.Status
	}
	th.Stat, err = statOf(th.Proc)
	return err
}

// peekThread asks the kernel for what only its tracer may know.
func (s *session) peekThread(th *kind.ThreadSite) (err error) {
	f := s.frozen[int(th.TID)]
	if f == nil {
		return errors.New("it was not stopped with the others")
	}
	f.Know(th.Status)
	if th.RSeq, err = f.Rseq(); err != nil {
		return err
	}
	if th.IOPorts, err = f.IOPorts(); err != nil {
		return err
	}
	if th.Pending, err = f.PeekSignals(false); err != nil {
		return err
	}
	if th.Leader {
		th.Shared, err = f.PeekSignals(true)
	}
	return err
}

func status(p kind.Proc) (*abi.Status, error) {
	text, err := p.Read("status")
	if err != nil {
		return nil, err
	}
	return abi.ParseStatus(text)
}

func statOf(p kind.Proc) (*abi.Stat, error) {
	text, err := p.Read("stat")
	if err != nil {
		return nil, err
	}
	return abi.ParseStat(text)
}

// share finds out which processes share an address space, descriptors,
// directories and signal actions (clone(2): CLONE_VM, FILES, FS, SIGHAND).
func (s *session) share() error {
	err := shareOne(s.tasks, abi.KcmpVM, func(t *kind.TaskSite, n int) {
		if n == len(s.mms)+1 {
			s.mms = append(s.mms, &kind.MMSite{ID: uint32(n), Task: t, Do: s.doer(nil)})
		}
		t.MM = s.mms[n-1]
	})
	if err != nil {
		return err
	}
	err = shareOne(s.tasks, abi.KcmpFiles, func(t *kind.TaskSite, n int) {
		if n == len(s.fdtables)+1 {
			s.fdtables = append(s.fdtables, &kind.FDTableSite{ID: uint32(n), Task: t, Do: s.doer(nil)})
		}
		t.FDTable = s.fdtables[n-1]
	})
	if err != nil {
		return err
	}
	err = shareOne(s.tasks, abi.KcmpFS, func(t *kind.TaskSite, n int) {
		if n == len(s.fss)+1 {
			s.fss = append(s.fss, &kind.FSSite{ID: uint32(n), Task: t, Do: s.doer(nil)})
		}
		t.FS = s.fss[n-1]
	})
	if err != nil {
		return err
	}
	return shareOne(s.tasks, abi.KcmpSighand, func(t *kind.TaskSite, n int) {
		if n == len(s.sighands)+1 {
			s.sighands = append(s.sighands, &kind.SigHandSite{ID: uint32(n), Task: t})
		}
		t.SigHand = s.sighands[n-1]
	})
}

// shareOne numbers the classes of tasks that share one thing, from 1, in the
// order in which they are met.
func shareOne(tasks []*kind.TaskSite, what int, put func(t *kind.TaskSite, n int)) error {
	c := classes[kind.PID]{compare: func(a, b kind.PID) (int, error) {
		return kernelio.Kcmp(int(a), int(b), what, 0, 0)
	}}
	number := map[*class[kind.PID]]int{}
	for _, t := range tasks {
		cl, fresh, err := c.add(t.PID)
		if err != nil {
			return err
		}
		if fresh {
			number[cl] = len(number) + 1
		}
		put(t, number[cl])
	}
	return nil
}

// unshared refuses threads that left their process's descriptors or
// directories (unshare(2)): a site belongs to a process here.
func (s *session) unshared() error {
	for _, th := range s.threads {
		if th.Leader {
			continue
		}
		for _, what := range []struct {
			typ  int
			name string
		}{{abi.KcmpFiles, "descriptors"}, {abi.KcmpFS, "directories"}} {
			r, err := kernelio.Kcmp(int(th.Task.PID), int(th.TID), what.typ, 0, 0)
			if err != nil {
				return err
			}
			if r != 0 {
				s.refuse(fmt.Sprintf("thread %d of %s", th.TID, taskName(th.Task)),
					kind.Unsupportedf("it has %s of its own, apart from its process (unshare)", what.name))
			}
		}
	}
	return nil
}
