package dump

import (
	"errors"
	"fmt"

	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kind"
)

// question is what the kinds ask of one thread: a program, and who gets
// which of its results.
type question struct {
	thread  *inject.Thread
	process int
	program *calls.Program
	users   []*use
}

// ask lets the target say what only it can: each thread runs the calls of
// all kinds that ask it, all processes at the same time.
func (s *session) ask(objects []*object) error {
	byPID, err := s.questions(objects)
	if err != nil {
		return err
	}
	spaces := map[int]*inject.Space{}
	defer func() {
		for _, sp := range spaces {
			sp.Close()
		}
	}()
	for _, p := range s.procs {
		qs := byPID[p.pid]
		if len(qs) == 0 {
			continue
		}
		if err := s.askProcess(p, qs, spaces); err != nil {
			return err
		}
	}
	for pid, sp := range spaces {
		delete(spaces, pid)
		if err := sp.Close(); err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return nil
}

// questions collects the calls, thread by thread.
func (s *session) questions(objects []*object) (map[int][]*question, error) {
	byPID := map[int][]*question{}
	byTID := map[int]*question{}
	processOf := s.processOf()
	to := func(tid int, u *use) error {
		q := byTID[tid]
		if q == nil {
			th := s.frozen[tid]
			if th == nil {
				return errors.New("no thread to ask")
			}
			q = &question{thread: th, process: processOf[tid], program: calls.NewProgram(held(nil))}
			byTID[tid] = q
			byPID[q.process] = append(byPID[q.process], q)
		}
		return q.add(u)
	}
	for _, o := range objects {
		for _, u := range o.kinds {
			if u.calls = u.kind.Ask(o.site); len(u.calls) == 0 {
				continue
			}
			if err := to(o.asks, u); err != nil {
				return nil, fmt.Errorf("%s: %w", o.name(), err)
			}
		}
	}
	for _, i := range s.inodes {
		for _, sv := range s.held[i].surveys {
			if err := to(int(sv.m.MM.Task.PID), &sv.use); err != nil {
				return nil, fmt.Errorf("%s: %w", quote(i.Path), err)
			}
		}
	}
	return byPID, nil
}

// processOf leads from threads to their processes.
func (s *session) processOf() map[int]int {
	pids := map[int]int{}
	for _, p := range s.procs {
		for _, tid := range p.tids {
			pids[tid] = p.pid
		}
	}
	return pids
}

func (q *question) add(u *use) error {
	for _, c := range u.calls {
		if err := q.program.AddLenient(c); err != nil {
			return err
		}
	}
	q.users = append(q.users, u)
	return nil
}

// askProcess runs the questions to the threads of one process. A process
// that nothing may be injected into is refused by name.
func (s *session) askProcess(p *process, qs []*question, spaces map[int]*inject.Space) error {
	if err := qs[0].thread.CanInject(); err != nil {
		s.refuse(p.name(), &kind.Unsupported{Why: err.Error()})
		return nil
	}
	sp, err := inject.Open(s.frozen[p.pid], spaceFor(qs))
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	spaces[p.pid] = sp
	if w := sp.Window(); w != "" {
		s.windows = append(s.windows, fmt.Sprintf("%s: %s", p.name(), w))
	}
	for _, q := range qs {
		if err := sp.Run(q.thread, q.program.Inject); err != nil {
			return fmt.Errorf("thread %d of %s: %w", q.thread.TID(), p.name(), err)
		}
		q.answer()
	}
	return nil
}

// frameRoom is what a thread's signal frame may take: with AMX the extended
// registers alone are 11 KiB.
const frameRoom = 16 << 10

// spaceFor is the memory that the questions need: the programs run one after
// another, but every thread that was asked keeps the frame that leads it home.
func spaceFor(qs []*question) uint64 {
	var most uint64
	for _, q := range qs {
		most = max(most, q.program.Size())
	}
	return most + uint64(len(qs)+1)*frameRoom
}

// answer hands out the results.
func (q *question) answer() {
	all := q.program.Results()
	for _, u := range q.users {
		u.asked = all[:len(u.calls)]
		all = all[len(u.calls):]
	}
}
