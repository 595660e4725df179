package restore

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/verify"
)

// session is one restore under way.
type session struct {
	*content
	img       *verify.Image
	opts      Options
	files     map[string]*found // as the judge was told of them
	steps     []step
	tracer    *inject.Tracer
	barrier   *inject.Barrier
	stub      *inject.Stub
	socket    *kernelio.FD // the tool's end of what descriptors travel through
	stubFDs   []int        // the tool's descriptors that the stub gets: the other end, and what is handed
	counter   *counter     // of the routes that wait for numbers to come
	reserving time.Duration
	untold    []kind.PID // threads in whose memory no number was found to translate
	bereaved  []*body    // whose children were ended
	route     Route
	numbers   map[kind.PID]kind.PID    // what the recorded numbers have become; nil: they are the same
	special   []moved                  // the kernel's mappings that every task is born with
	born      map[uint32][]moved       // those of address spaces that have executed a file
	program   map[uint32]kind.InodeRef // which one
	aside     map[uint32]bool          // of those, the address spaces that were cloned from an emptied one
	executes  bool                     // address spaces execute their files
	ctl       int                      // the number of the tasks' end in every table; 0: it is closed
	strange   bool                     // a process is to be somebody else than the caller
	armed     bool                     // tasks have signals
	handed    map[plan.Ref]int         // descriptors that came with the stub, and their numbers in every table
	bodies    map[uint32]*body
	made      map[plan.Ref]int64   // results of calls in the tool
	inTask    map[plan.Ref]int64   // results of calls in tasks
	owned     map[int]bool         // descriptors of the tool that are to be closed
	cleared   map[uint32]bool      // address spaces that were emptied before others were cloned from them
	placed    atomic.Uint64        // bytes of bulk data
	before    kernelio.Credentials // the tracer's thread's, before it became root's
	since     time.Time            // when it was judged
	hands     map[string]*kernelio.Hand
	wearing   map[plan.Ref]kind.Creds // what threads are to become
	bared     map[*inject.Thread]bool // who has given up what was lent
	undo      [][]plan.Call           // to be made if the restore fails
	heir      *heir                   // who makes them if rstr is killed
}

// step is a plan.Step with the object that it belongs to.
type step struct {
	plan.Step
	ref     plan.Ref
	kind    string // that planned it
	granted bool   // the tool does it by a grant
	next    int    // of its operations, the one that comes next
	of      *content
}

// body is a process of the tree as it is being built.
type body struct {
	node    *kind.TaskNode
	space   *inject.Space
	threads map[uint32]*inject.Thread
	leader  *inject.Thread
	used    map[int]bool // numbers in its descriptor table that are taken
	placed  bool         // its table is final
	session kind.PID     // as it is now; 0: rstr's
	group   kind.PID
}

// rep is the process that acts for an object of the tree.
func (s *session) rep(r plan.Ref) (*body, error) {
	switch r.Site {
	case plan.Mapping:
		r = plan.Ref{Site: plan.MM, ID: s.mmOf[r.ID]}
	case plan.Thread:
		r = plan.Ref{Site: plan.Task, ID: s.taskOf[r.ID]}
	}
	r.Slot = 0
	node := s.reps[r]
	if node == nil || s.bodies[node.ID] == nil {
		return nil, fmt.Errorf("no process acts for %s", r)
	}
	return s.bodies[node.ID], nil
}

// actor is the thread that executes the calls of an object.
func (s *session) actor(r plan.Ref) (*body, *inject.Thread, error) {
	b, err := s.rep(r)
	if err != nil {
		return nil, nil, err
	}
	if r.Site == plan.Thread {
		return b, b.threads[r.ID], nil
	}
	return b, b.leader, nil
}

// newNames resolves names for calls that process b executes; nil is the tool.
func (s *session) newNames(b *body) *names { return &names{s: s, body: b} }

// names implements calls.Names.
type names struct {
	s    *session
	body *body
	fds  map[plan.Ref]int // descriptors that were brought to the process
}

func (n *names) FD(r plan.Ref) (int, error) {
	if n.body == nil {
		return n.of(n.s.made, r)
	}
	fd, ok := n.fds[r]
	if !ok {
		fd, ok = n.s.handed[r]
	}
	if !ok {
		return 0, fmt.Errorf("%s was not brought there", r)
	}
	return fd, nil
}

func (n *names) of(m map[plan.Ref]int64, r plan.Ref) (int, error) {
	v, ok := m[r]
	if !ok {
		return 0, fmt.Errorf("%s has not been made", r)
	}
	return int(v), nil
}

func (n *names) Result(r plan.Ref) (int64, error) {
	if v, ok := n.s.inTask[r]; ok {
		return v, nil
	}
	v, err := n.of(n.s.made, r)
	return int64(v), err
}

// PID translates the numbers that calls name.
func (n *names) PID(recorded int32) (int, error) {
	pid := n.s.number(kind.PID(recorded))
	if pid == 0 {
		return 0, fmt.Errorf("process %d has not been made", recorded)
	}
	return int(pid), nil
}
