package restore

import (
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kind"
)

// Most of the time that a tree takes to grow is the kernel's, which copies a
// process (fork(2)). So several tasks clone at the same time where that can be,
// and while they do, the tool looks after those that are there already.

// newborn is a task that is to be made.
type newborn struct {
	args    abi.CloneArgs
	pid     kind.PID
	bare    bool           // it has nothing to do but to give up what was lent
	forked  bool           // it has memory of its own
	born    *calls.Program // what it does then by itself; nil: nothing
	adopt   func() (*doing, error)
	discard func(tid int) error // ends it, if it has another number
}

// cloner is a task that makes others.
type cloner struct {
	body    *body // nil: the stub
	space   *inject.Space
	thread  *inject.Thread
	sibling bool // of what it makes
}

func (s *session) clonerOf(b *body) cloner {
	if b == nil {
		return cloner{space: s.stub.Space, thread: s.stub.Thread}
	}
	return cloner{body: b, space: b.space, thread: b.leader}
}

// brood is what a task makes in one program.
type brood struct {
	by   cloner
	all  []*newborn
	prog *calls.Program
	bare *calls.Program // of all that have nothing else to do
}

// atOnce is how many tasks a brood has: few enough that the tool has always
// some to look after, so many that stops don't count.
const atOnce = 12

// makeAll makes several tasks, by all cloners at the same time.
func (s *session) makeAll(by []cloner, all []*newborn) error {
	if s.counter != nil {
		return s.makeEach(by[0], all)
	}
	n := nursery{s: s, idle: by, rest: all}
	for len(n.rest)+len(n.busy) > 0 {
		if err := n.start(); err != nil {
			return err
		}
		done, err := n.next()
		if err != nil {
			return err
		}
		if err := n.start(); err != nil {
			return err
		}
		if err := n.adopt(done.all); err != nil {
			return err
		}
	}
	return s.finishAll(n.infants)
}

// nursery is where tasks are made.
type nursery struct {
	s       *session
	rest    []*newborn // not yet made
	idle    []cloner
	busy    []*brood // being made
	infants []*doing
}

// start has every cloner that has nothing to do make some.
func (n *nursery) start() error {
	for len(n.idle) > 0 && len(n.rest) > 0 {
		b := &brood{by: n.idle[0], all: n.rest[:min(len(n.rest), atOnce)]}
		n.idle, n.rest = n.idle[1:], n.rest[len(b.all):]
		if err := b.start(n.s); err != nil {
			return err
		}
		n.busy = append(n.busy, b)
	}
	return nil
}

func (b *brood) start(s *session) error {
	b.prog = newProgram(s, b.by.body)
	for _, x := range b.all {
		if err := b.prog.Add(s.cloneCall(b.by.way(x.args), x.pid), x.pid); err != nil {
			return err
		}
		if err := b.prepare(x, s); err != nil {
			return err
		}
		if x.born != nil {
			b.prog.Born(x.born, x.forked)
		}
	}
	return b.by.space.Start(b.by.thread, b.prog.Inject)
}

// prepare gives a task that has nothing to do but that the program to give up
// what was lent: one for all who have a copy of it.
func (b *brood) prepare(x *newborn, s *session) (err error) {
	if !x.bare || s.opts.Lent == 0 {
		return nil
	}
	if b.bare == nil || !x.forked {
		b.bare, err = s.compiled(b.by.body, bare())
	}
	x.born = b.bare
	return err
}

// way is how a cloner makes a task.
func (c *cloner) way(a abi.CloneArgs) abi.CloneArgs {
	if c.sibling {
		a.Flags |= unix.CLONE_PARENT
	}
	if a.Flags&unix.CLONE_PARENT != 0 {
		a.ExitSignal = 0 // it is the cloner's (clone(2))
	}
	return a
}

// next waits for those that were begun first.
func (n *nursery) next() (*brood, error) {
	b := n.busy[0]
	n.busy = n.busy[1:]
	if err := b.by.space.Finish(b.by.thread); err != nil {
		return nil, cloneError(b.prog, err)
	}
	for i, r := range b.prog.Results() {
		n.s.name(b.all[i].pid, r.Ret)
	}
	n.idle = append(n.idle, b.by)
	return b, nil
}

func (n *nursery) adopt(all []*newborn) error {
	for _, x := range all {
		d, err := x.adopt()
		if err != nil {
			return err
		}
		n.infants = append(n.infants, d)
	}
	return nil
}

// makeEach makes tasks one after the other, where a number must come first.
func (s *session) makeEach(by cloner, all []*newborn) error {
	for _, x := range all {
		if err := s.counter.make(by, s.cloneCall(by.way(x.args), x.pid), x); err != nil {
			return err
		}
	}
	for _, x := range all {
		if _, err := x.adopt(); err != nil {
			return err
		}
	}
	return nil
}

// helped is from how many children on some of them help to make the others.
const helped = 2 * atOnce

// helpers says how many children of a process, the first ones, can clone the
// others in its stead: as siblings that have nothing from it but what all have,
// and of its memory the same copy.
func (s *session) helpers(b *body, births []birth) int {
	if b == nil || len(births) < helped || s.counter != nil {
		return 0
	}
	signal := births[0].node.ExitSignal
	if slices.ContainsFunc(births, func(x birth) bool { return x.flags != 0 || x.node.ExitSignal != signal }) {
		return 0
	}
	n, most := 0, min(runtime.NumCPU()-1, 3)
	for n < most && alive(births[n].node) && !s.executesOwn(births[n].node, b.node) {
		n++
	}
	return n
}
