package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Options of a restore.
type Options struct {
	Table  kind.Table
	Caller kind.Caller
	Kernel string // release of the running kernel
	Here   bool   // the image was made on this very host
	Route  Route  // to the PIDs
	Inside bool   // rstr is in the namespace that Route says already
	// Map leads from the ids of the image to this host's; nil: they are the same.
	Map *credmap.Map
	// Judge decides on the authority that the tree needs; nil grants none.
	Judge func([]policy.Want) policy.Decision
	// Lent are capabilities for the tree's numbers that rstr is permitted but
	// the caller isn't. They are effective only where they are used, and given
	// up for good, here and in all tasks, before anything else is built.
	Lent abi.CapSet
	// Detach: the tree outlives rstr, so its root is the child of whoever takes
	// in orphans (PR_SET_CHILD_SUBREAPER(2const), or init) before it runs: the end
	// of rstr is not the end of its parent.
	Detach bool
	// Elevated: rstr is set-user-id root, every thread of it acts as the caller,
	// and what the judge grants takes more. Caller.Born is root then.
	Elevated bool
	// Plain gives up what was lent, where an elevated restore turns out to need
	// none of it, and tells who rstr is then.
	Plain func() (kind.Caller, error)
	// Again judges once more, just before an elevated restore gives its tasks
	// their credentials: the world may have changed since. Nil: nobody does.
	Again func() error
	// Watch is told, when the building begins, how many bytes the image holds,
	// and whom to ask how many are in their places; nil: nobody wants to know.
	Watch func(total uint64, done func() uint64)
	// Cycle is told how many numbers are about to be tried, and gives whom to
	// tell of those that were; nil: nobody wants to know.
	Cycle func(total int) func(n int)
	// Terminal is called where a process of the tree is to be somebody else than
	// the caller, before anything is created: rstr's standard streams are to be no
	// terminals of hers then. Nil: they are none.
	Terminal func() error
	// Begin is called when nothing is left to refuse and before anything is
	// created, with the judge's decision; its error ends the restore. Nil:
	// nobody has anything to say.
	Begin func(policy.Decision) error
}

// Restored tells what runs now.
type Restored struct {
	PID     int // of the root
	Route   Route
	Tasks   int
	Threads int
	// Reserving is the time that it took until all tasks were there with their
	// numbers and nobody could make another one.
	Reserving time.Duration
	// Untold are threads, by their recorded numbers, that got others and whose
	// library keeps its note of that where nobody has looked.
	Untold []kind.PID
}

// Run builds the tree of an image and lets it run. Errors: image.ErrFormat
// for what no dump wrote, *TakenError, *HostError, *StepError; an *AfterError
// comes with a Restored, since the tree runs.
func Run(img *verify.Image, o Options) (*Restored, error) {
	if n := descriptors(img.Manifest()); n > tableStep {
		go kernelio.RoomForFiles(n)
	}
	p, err := prepare(img.Manifest(), &o)
	if err == nil {
		err = p.refusal()
	}
	if err != nil {
		return nil, err
	}
	since := time.Now()
	if o.Elevated {
		if err := p.confine(&o); err != nil {
			return nil, fmt.Errorf("preparing for a restore by a policy: %w", err)
		}
	}
	if p.strange && o.Terminal != nil {
		if err := o.Terminal(); err != nil {
			return nil, err
		}
	}
	if o.Begin != nil {
		if err := o.Begin(p.decision); err != nil {
			return nil, err
		}
	}
	s := &session{strange: p.strange, content: p.content, files: p.files, img: img, opts: o, steps: p.steps, bodies: map[uint32]*body{}, made: map[plan.Ref]int64{},
		inTask: map[plan.Ref]int64{}, owned: map[int]bool{}, cleared: map[uint32]bool{}, bared: map[*inject.Thread]bool{}, route: o.Route, executes: o.executes(), since: since}
	if o.Route.renumbers() {
		s.numbers = map[kind.PID]kind.PID{}
	}
	if o.Watch != nil {
		o.Watch(s.manifest.Totals.Raw, s.placed.Load)
	}
	return s.attempt()
}

// descriptors is how many the tool is going to have at once, about: of each file
// and of each description of an open one, of each process's memory, and those of
// this program itself.
func descriptors(m *image.Manifest) int {
	const own = 24
	seen := map[plan.Ref]bool{}
	for i := range m.Records {
		switch site := plan.Site(m.Records[i].Site); site {
		case plan.Inode, plan.OpenFile, plan.Task:
			seen[plan.Ref{Site: site, ID: m.Records[i].ID}] = true
		}
	}
	return len(seen) + own
}

// attempt builds the tree and lets it run. The tracer's thread is then the
// parent of its root, and lives on: the signal of a parent's end comes when the
// thread ends that is the parent (PR_SET_PDEATHSIG(2const)).
func (s *session) attempt() (*Restored, error) {
	s.tracer = inject.NewTracer()
	defer s.closeBarrier()
	defer s.closeOwned()
	defer s.closeHands()
	defer s.dismiss()
	r := &Restored{Route: s.route, Tasks: len(s.tree.Tasks), Threads: len(s.threads)}
	var err error
	s.tracer.Do(func() { err = s.build() })
	if err != nil {
		s.tracer.Do(s.abandon)
		s.tracer.Close()
		return nil, err
	}
	r.PID, r.Reserving, r.Untold = int(s.number(s.tree.Tasks[0].PID)), s.reserving, s.untold
	s.tracer.Do(func() { err = s.commit() })
	if _, runs := err.(*AfterError); err != nil && !runs {
		s.tracer.Do(s.abandon)
		s.tracer.Close()
		return nil, err
	}
	s.tracer.Do(func() { err = errors.Join(err, s.descend()) })
	return r, err
}

// build carries out the plan up to the commit.
func (s *session) build() error {
	var err error
	if s.barrier, err = inject.NewBarrier(); err != nil {
		return err
	}
	for _, do := range []func() error{
		s.rise, s.openPrograms, s.openSocket, s.reserve, s.clear, s.open, s.stage(plan.Tree),
		s.stage(plan.Create), s.stage(plan.Connect),
		s.stage(plan.Fill), s.fill, s.renumber,
		s.placeAll, s.stage(plan.Settle), s.takeAway,
		func() error { return s.retire(kind.Zombie) }, s.forgetChildren,
		s.bequeath, s.arm, s.again, s.stage(plan.Creds), s.seal, s.checkCreds,
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// reserve makes all tasks, with their numbers, inert, and then gives up what
// that takes: in each of them, and in rstr. From there on the numbers that the
// tree can have are closed. Of the image nothing has been used by then but its
// tree, the files that its processes execute, which are opened with the
// caller's own rights, and pages that processes can only share by being cloned
// with them.
func (s *session) reserve() error {
	defer func(begin time.Time) { s.reserving = time.Since(begin) }(time.Now())
	err := s.lent(func() error {
		for _, do := range []func() error{s.newStub, s.humble, s.leaveTerminal, s.checkXState, s.embodyStub, s.grow, s.dropStub, s.bareAll} {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.giveUp()
}

// arm gives the tasks their signals, locks and timers.
func (s *session) arm() error {
	s.armed = slices.ContainsFunc(s.steps, knowsTraps)
	return s.carryOut(plan.Arm)
}

func (s *session) stage(st plan.Stage) func() error {
	return func() error { return s.carryOut(st) }
}

func (s *session) placeAll() error {
	var all []*body
	for _, t := range s.tree.FDTables {
		b, err := s.rep(plan.Ref{Site: plan.FDTable, ID: t.ID})
		if err != nil {
			return err
		}
		if b.placed = true; len(t.FDs) == 0 {
			continue
		}
		if err := s.place(b, t.FDs); err != nil {
			return fmt.Errorf("placing the descriptors of process %d: %w", b.node.PID, err)
		}
		all = append(all, b)
	}
	return s.await(all...)
}

// leaveStub lets the stub end while the tree grows: nobody needs it after the
// root is there, but who makes and ends tasks until a number comes.
func (s *session) leaveStub() error {
	var err error
	if s.special, err = s.specials(s.stub.Thread.PID(), s.stub.Space); err != nil || s.counter != nil {
		return err
	}
	return s.stub.Proc.Kill()
}

// dropStub sees to it that the stub has ended.
func (s *session) dropStub() error {
	st := s.stub
	s.stub = nil
	return kill(st)
}

func kill(st *inject.Stub) error {
	if err := st.Proc.Kill(); err != nil {
		return err
	}
	return st.Proc.Wait()
}

// reaperTime is how long whoever takes in orphans may take to wait for them.
const reaperTime = 3 * time.Second

// awaitReaper waits until the root's number is free again: it is another's
// child.
func (s *session) awaitReaper() {
	for _, b := range s.bodies {
		for end := time.Now().Add(reaperTime); b.node.Parent == 0 && kernelio.TaskExists(b.leader.TID()) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
}

// abandon ends everything that was made: nothing of it has run yet.
func (s *session) abandon() {
	s.takeBack()
	if s.stub != nil {
		kill(s.stub)
	}
	for _, b := range s.bodies {
		kernelio.Kill(b.leader.TID(), unix.SIGKILL)
	}
	for _, b := range s.bodies {
		// A traced thread is a zombie until its tracer waits for it, and as
		// long as there is one its leader can't be waited for.
		for _, tid := range threadsOf(b.leader.TID()) {
			kernelio.Reap(tid)
		}
		if b.node.Parent == 0 {
			kernelio.Reap(b.leader.TID())
		}
	}
	if s.opts.Detach {
		s.awaitReaper()
	}
}

// threadsOf lists the threads of a process but for its leader: those too that
// were made when something failed, and that nobody has taken note of.
func threadsOf(pid int) []int {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return nil
	}
	defer dir.Close()
	all, _ := dir.Threads()
	return slices.DeleteFunc(all, func(tid int) bool { return tid == pid })
}

// closeOwned closes the tool's descriptors of everything that it made.
func (s *session) closeOwned() {
	for fd := range s.owned {
		kernelio.CloseFD(fd)
	}
	s.owned = nil
	if s.socket != nil {
		s.socket.Close()
	}
}

func (s *session) closeBarrier() {
	if s.barrier != nil {
		s.barrier.Close()
	}
}
