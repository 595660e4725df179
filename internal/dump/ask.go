package dump

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
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
// all kinds that ask it.
func (s *session) ask(objects []*object) error {
	byPID, err := s.questions(objects)
	if err != nil {
		return err
	}
	var asked []*process
	for _, p := range s.procs {
		qs := byPID[p.pid]
		if len(qs) == 0 {
			continue
		}
		// A process that nothing may be injected into is refused by name.
		if err := qs[0].thread.CanInject(); err != nil {
			s.refuse(p.name(), &kind.Unsupported{Why: err.Error()})
			continue
		}
		asked = append(asked, p)
	}
	for some := range slices.Chunk(asked, atOnce) {
		if err := s.askProcesses(some, byPID); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is how many processes, and how many threads, are asked at the same
// time: it takes a thread many times as long to wake up as to answer.
const atOnce = 32

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
			q = &question{thread: th, process: processOf[tid]}
			byTID[tid] = q
			byPID[q.process] = append(byPID[q.process], q)
		}
		q.users = append(q.users, u)
		return nil
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
	all := slices.Collect(maps.Values(byTID))
	return byPID, parallel(len(all), large, func(i int) error {
		if err := all[i].compile(); err != nil {
			return s.asking(all[i], err)
		}
		return nil
	})
}

// compile makes the program.
func (q *question) compile() error {
	n := 0
	for _, u := range q.users {
		n += len(u.calls)
	}
	q.program = calls.NewProgram(held(nil))
	q.program.Grow(n)
	for _, u := range q.users {
		for _, c := range u.calls {
			if err := q.program.AddLenient(c); err != nil {
				return err
			}
		}
	}
	return nil
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

// askProcesses asks all threads of some processes.
func (s *session) askProcesses(procs []*process, byPID map[int][]*question) error {
	spaces, err := s.spacesIn(procs, byPID)
	if err == nil {
		var all []*question
		for _, p := range procs {
			all = append(all, byPID[p.pid]...)
		}
		for some := range slices.Chunk(all, atOnce) {
			if err = s.askThreads(some, spaces); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = s.takeAllAway(procs, spaces)
	}
	return errors.Join(err, s.tracer.CloseAll(slices.Collect(maps.Values(spaces))))
}

// spacesIn makes a space for the questions to each process.
func (s *session) spacesIn(procs []*process, byPID map[int][]*question) (map[int]*inject.Space, error) {
	var openings []*inject.Opening
	for _, p := range procs {
		openings = append(openings, &inject.Opening{Thread: s.frozen[p.pid], Size: spaceFor(byPID[p.pid]), VMAs: s.mappingsOf(p)})
	}
	s.tracer.OpenAll(openings)
	spaces := map[int]*inject.Space{}
	var err error
	for i, o := range openings {
		if o.Err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", procs[i].name(), o.Err))
			continue
		}
		spaces[procs[i].pid] = o.Space
		if w := o.Space.Window(); w != "" {
			s.windows = append(s.windows, fmt.Sprintf("%s: %s", procs[i].name(), w))
		}
	}
	return spaces, err
}

// mappingsOf lists the mappings of a process, also those that are not its own.
func (s *session) mappingsOf(p *process) []abi.VMA {
	vmas := make([]abi.VMA, 0, len(p.site.MM.Mappings))
	for _, m := range p.site.MM.Mappings {
		vmas = append(vmas, m.VMA.VMA)
	}
	if left := s.left[p.site.MM]; len(left) > 0 {
		vmas = append(vmas, left...)
		slices.SortFunc(vmas, func(a, b abi.VMA) int { return cmp.Compare(a.Start, b.Start) })
	}
	return vmas
}

// askThreads asks some threads; one that nothing may be injected into is refused
// by name. Those that were started are awaited whatever happens to others.
func (s *session) askThreads(qs []*question, spaces map[int]*inject.Space) (err error) {
	var started []*question
	for _, q := range qs {
		err = spaces[q.process].Start(q.thread, q.program.Inject)
		if errors.As(err, new(*inject.BarredError)) {
			s.refuse(s.nameOf(q), &kind.Unsupported{Why: err.Error()})
			err = nil
			continue
		}
		if err != nil {
			err = s.asking(q, err)
			break
		}
		started = append(started, q)
	}
	for _, q := range started {
		spaces[q.process].End(q.thread)
	}
	for _, q := range started {
		if e := spaces[q.process].Finish(q.thread); e != nil {
			err = errors.Join(err, s.asking(q, e))
			continue
		}
		q.answer()
	}
	return err
}

func (s *session) asking(q *question, err error) error {
	return fmt.Errorf("%s: %w", s.nameOf(q), err)
}

func (s *session) nameOf(q *question) string {
	return fmt.Sprintf("thread %d of %s", q.thread.TID(), s.byPID[q.process].name())
}

// frameRoom is what a thread's signal frame may take: with AMX the extended
// registers alone are 11 KiB.
const frameRoom = 16 << 10

// spaceFor is the memory that the questions need: programs that have ended give
// theirs back, but every thread that was asked keeps the frame that leads it home.
func spaceFor(qs []*question) uint64 {
	var most uint64
	for _, q := range qs {
		most = max(most, q.program.Size())
	}
	return uint64(min(len(qs), atOnce))*most + uint64(len(qs)+1)*frameRoom
}

// answer hands out the results.
func (q *question) answer() {
	all := q.program.Results()
	for _, u := range q.users {
		u.asked = all[:len(u.calls)]
		all = all[len(u.calls):]
	}
}
