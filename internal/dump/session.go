package dump

import (
	"fmt"
	"io"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// session is one dump under way: the frozen tree, its objects, and what is
// to be written about them.
type session struct {
	opts    *Options
	table   kind.Table
	tracer  *inject.Tracer
	pids    []int // of all that is stopped
	stopped *inject.Frozen
	frozen  map[int]*inject.Thread // by tid
	thaw    func() error
	looked  func() (orphans bool, err error) // waits until somebody has looked for orphans
	procs   []*process                       // parents before children
	byPID   map[int]*process

	tasks    []*kind.TaskSite
	threads  []*kind.ThreadSite
	mms      []*kind.MMSite
	fdtables []*kind.FDTableSite
	fss      []*kind.FSSite
	sighands []*kind.SigHandSite
	files    []*kind.FileSite
	inodes   []*kind.InodeSite
	mappings []*kind.MappingSite
	spaces   []*kind.NamespaceSite

	inodeOf  map[inodeKey]*inode
	filesBy  map[fileKey]*classes[*open]
	opens    map[*kind.FileSite]*kernelio.FD
	held     map[*kind.InodeSite]*inode
	grants   bool                              // somebody may be granted something by the image
	byHost   bool                              // and by the host's word
	hashed   int64                             // bytes of files whose content was hashed
	lent     abi.CapSet                        // for following the links of map_files
	linkless bool                              // the links of map_files may not be followed
	memory   map[*kind.MMSite]*kernelio.Memory // of those with mappings of unheld inodes
	pages    map[*kind.MMSite]image.Extents
	vmas     map[*kind.MMSite][]abi.SmapsVMA // as they are to be recorded
	left     map[*kind.MMSite][]abi.VMA      // what earlier dumps left
	forks    map[*kind.MMSite]*forked        // nil: no process may share pages with another

	blobs   []blob
	records []image.Record
	refused []*kind.Unsupported
	windows []string
	xstate  image.Xstate
	cleanup []io.Closer
}

// blob is bulk data that is to be written.
type blob struct {
	src     io.ReaderAt
	extents image.Extents
}

// process is one process of the tree, alive or a zombie.
type process struct {
	pid, ppid int
	dir       *kernelio.ProcDir
	pidfd     *kernelio.FD
	stat      *abi.Stat
	zombie    bool
	tids      []int // the leader first
	site      *kind.TaskSite
}

func newSession(o *Options, tr *inject.Tracer) *session {
	return &session{opts: o, table: o.Table, lent: o.Lent, grants: mayGrant(&o.Header), byHost: o.Header.Class == image.ClassHost, tracer: tr,
		inodeOf: map[inodeKey]*inode{}, held: map[*kind.InodeSite]*inode{}}
}

// startOver forgets everything but what is frozen, which is now all of the tree.
func (s *session) startOver() {
	s.close()
	pids, stopped, thaw := s.pids, s.stopped, s.thaw
	*s = *newSession(s.opts, s.tracer)
	s.pids, s.stopped, s.frozen, s.thaw = pids, stopped, stopped.Threads, thaw
	s.looked = func() (bool, error) { return false, nil }
}

func (s *session) refuse(object string, err error) {
	s.refused = append(s.refused, refusal(object, err))
}

// refusal is why an object can't be saved.
func refusal(object string, err error) *kind.Unsupported {
	u := asUnsupported(err)
	u.Object = object
	return u
}

func asUnsupported(err error) *kind.Unsupported {
	if u, ok := err.(*kind.Unsupported); ok {
		c := *u
		return &c
	}
	return &kind.Unsupported{Why: err.Error()}
}

// keep has c closed when the dump is over, however it ends.
func (s *session) keep(c io.Closer) { s.cleanup = append(s.cleanup, c) }

func (s *session) close() {
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		s.cleanup[i].Close()
	}
}

// name is how messages speak of a process.
func (p *process) name() string { return fmt.Sprintf("process %d (%s)", p.pid, p.stat.Comm) }
