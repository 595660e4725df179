package dump

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// freezeTime bounds how long a tree may take to come to a halt. A parent in
// vfork waits for its child uninterruptibly, so the wait can't be endless.
const freezeTime = 10 * time.Second

// filesFor is how many descriptors a dump has open for each process, at least.
const filesFor = 4

// freeze stops the tree below root: the process first, whose children are its own
// from then on, since to look for those takes a look at each thread, and then its
// descendants. For orphans it takes one at every process of the host, which whole
// has the result of.
func (s *session) freeze(root int) (err error) {
	deadline := time.Now().Add(freezeTime)
	s.stopped, err = s.tracer.Freeze(func() ([]int, error) { return threadsOf([]int{root}), nil }, inject.Options(0), deadline)
	if err == nil {
		s.frozen, s.thaw = s.stopped.Threads, s.stopped.Thaw
		err = s.freezeMore(func() ([]int, error) { return clan(root) }, deadline)
	}
	if err != nil {
		return fmt.Errorf("freezing the tree of process %d: %w", root, err)
	}
	s.looked = sync.OnceValues(func() (bool, error) { return hasOrphans(s.pids) })
	go func() { _, _ = s.looked() }()
	return s.know(s.pids)
}

// freezeMore stops the processes that are listed, until there are no new ones.
func (s *session) freezeMore(list func() ([]int, error), deadline time.Time) error {
	return s.stopped.Extend(func() (tids []int, err error) {
		if s.pids, err = list(); err == nil {
			go kernelio.RoomForFiles(filesFor * len(s.pids))
		}
		return threadsOf(s.pids), err
	}, deadline)
}

// whole says whether the tree is all that is frozen so far. If it isn't, the rest
// is frozen too, and all that was found out about the tree must be found again.
func (s *session) whole() (bool, error) {
	orphans, err := s.looked()
	if err != nil || !orphans {
		return true, err
	}
	root := s.pids[0]
	if err := s.freezeMore(func() ([]int, error) { return members(root) }, time.Now().Add(freezeTime)); err != nil {
		return true, fmt.Errorf("freezing the orphans of the tree of process %d: %w", root, err)
	}
	s.startOver()
	return false, s.know(s.pids)
}

// threadsOf lists all threads of processes; those that are gone meanwhile
// have none.
func threadsOf(pids []int) []int {
	var tids []int
	for _, pid := range pids {
		t, _ := kernelio.Threads(pid)
		tids = append(tids, t...)
	}
	return tids
}

// hasOrphans says whether somebody lives in a session of the tree without being
// known: an orphan is a child of init or of a subreaper now, and nothing but the
// session says where it belongs.
func hasOrphans(pids []int) (bool, error) {
	more, err := orphans(pids)
	return len(more) > 0, err
}

// orphans lists them. What they have below them is not among them.
func orphans(pids []int) (out []int, err error) {
	var sessions map[int][]int
	for _, leader := range pids {
		if sid, err := kernelio.SessionOf(leader); err != nil || sid != leader {
			continue
		}
		if sessions == nil {
			if sessions, err = kernelio.Sessions(); err != nil {
				return nil, err
			}
		}
		for _, pid := range sessions[leader] {
			if !slices.Contains(pids, pid) {
				out = append(out, pid)
			}
		}
	}
	return out, nil
}

// members lists the PIDs of the whole tree, parents before their children: the
// process, its descendants, and the orphans of its sessions with theirs.
func members(root int) ([]int, error) {
	all, err := clan(root)
	if err != nil {
		return nil, err
	}
	for {
		more, err := orphans(all)
		if err != nil || len(more) == 0 {
			return all, err
		}
		for _, pid := range more {
			if below, err := clan(pid); err == nil {
				all = appendNew(all, below)
			}
		}
	}
}

// clan is a process and its descendants.
func clan(pid int) ([]int, error) {
	below, err := kernelio.Descendants(pid)
	return append([]int{pid}, below...), err
}

func appendNew(all, more []int) []int {
	for _, pid := range more {
		if !slices.Contains(all, pid) {
			all = append(all, pid)
		}
	}
	return all
}

// know reads who is who, now that nothing moves any more but the dead whom
// their parents bury.
func (s *session) know(pids []int) error {
	s.byPID = map[int]*process{}
	for _, pid := range pids {
		p, err := s.process(pid)
		if kernelio.IsGone(err) && s.frozen[pid] == nil {
			continue
		}
		if err != nil {
			return err
		}
		s.procs = append(s.procs, p)
		s.byPID[pid] = p
	}
	return nil
}

func (s *session) process(pid int) (*process, error) {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return nil, err
	}
	s.keep(dir)
	p := &process{pid: pid, dir: dir}
	if p.stat, err = dir.Stat(); err != nil {
		return nil, err
	}
	p.ppid, p.zombie = int(p.stat.PPid), p.stat.State == 'Z'
	if p.tids, err = dir.Threads(); err != nil {
		return nil, err
	}
	leaderFirst(p.tids, pid)
	if p.zombie && len(p.tids) > 1 {
		s.refuse(p.name(), kind.Unsupportedf("its first thread has exited while others run"))
	}
	if p.pidfd, err = kernelio.PidfdOpen(pid); err != nil {
		return nil, err
	}
	s.keep(p.pidfd)
	return p, nil
}

// leaderFirst puts the leader before the other threads: numbers wrap around
// at pid_max, so that it need not have the lowest.
func leaderFirst(tids []int, leader int) {
	if i := slices.Index(tids, leader); i > 0 {
		copy(tids[1:], tids[:i])
		tids[0] = leader
	}
}

// procFiles is a Proc over a directory of /proc that remembers what it read.
type procFiles struct {
	dir    *kernelio.ProcDir
	prefix string // "task/TID/"
	mu     sync.Mutex
	cache  map[string]procFile
}

type procFile struct {
	text []byte
	err  error
}

func newProcFiles(dir *kernelio.ProcDir, tid int) *procFiles {
	p := &procFiles{dir: dir, cache: map[string]procFile{}}
	if tid != 0 {
		p.prefix = "task/" + strconv.Itoa(tid) + "/"
	}
	return p
}

func (p *procFiles) Read(name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.cache[name]
	if !ok {
		f.text, f.err = p.dir.Read(p.prefix + name)
		p.cache[name] = f
	}
	return f.text, f.err
}

func (p *procFiles) Link(name string) (string, error) { return p.dir.Link(p.prefix + name) }
