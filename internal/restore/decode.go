package restore

import (
	"fmt"
	"sync"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// content is a decoded image: the tree and its records, with every reference
// checked.
type content struct {
	manifest *image.Manifest
	tree     *kind.Tree
	records  []record
	threads  map[uint32]*kind.ThreadNode
	taskOf   map[uint32]uint32 // process of each thread
	tasks    map[uint32]*kind.TaskNode
	byPID    map[kind.PID]bool
	mms      map[uint32]*kind.MMNode
	tables   map[uint32]*kind.FDTableNode
	reps     map[plan.Ref]*kind.TaskNode // who acts for a shared object
	mmOf     map[uint32]uint32           // address space of each mapping
	claimed  map[plan.Ref]bool
	told     map[told]bool
	indexed  sync.Once                           // the next two, of which messages name objects
	claims   map[plan.Ref]any                    // the records that say what they are
	leads    map[plan.Ref]string                 // descriptors that lead to open files
	digested sync.Once                           // the next one
	digests  map[string][]byte                   // what files held
	lowly    bool                                // rstr may do no more than its caller, but for PIDs
	always   map[plan.Ref]int                    // how many records an object has of kinds that every one of its sort has
	forks    map[uint32]*fork                    // what address spaces share; nil: none does
	cloner   map[*kind.TaskNode]*kind.TaskNode   // who makes a process
	clones   map[*kind.TaskNode][]*kind.TaskNode // and the other way round
}

// told says that an object has a record of a kind.
type told struct {
	ref  plan.Ref
	kind string
}

type record struct {
	ref  plan.Ref
	kind kind.Kind
	body any
}

// Prepare makes ahead of time what decoding any image takes.
func Prepare() {
	image.Prepare[image.Manifest]()
	image.Prepare[kind.Tree]()
}

// decode reads the engine's tree and all records of a manifest.
func decode(m *image.Manifest, table kind.Table) (*content, error) {
	c := &content{manifest: m, tree: &kind.Tree{}, threads: map[uint32]*kind.ThreadNode{}, taskOf: map[uint32]uint32{}, tasks: map[uint32]*kind.TaskNode{},
		byPID: map[kind.PID]bool{}, mms: map[uint32]*kind.MMNode{}, tables: map[uint32]*kind.FDTableNode{},
		reps: map[plan.Ref]*kind.TaskNode{}, mmOf: map[uint32]uint32{}, claimed: map[plan.Ref]bool{}, told: map[told]bool{}, always: map[plan.Ref]int{}}
	if err := image.Unmarshal(m.Tree, c.tree); err != nil {
		return nil, fmt.Errorf("the tree: %w", err)
	}
	if err := c.checkTree(); err != nil {
		return nil, bad("the tree: %w", err)
	}
	if err := c.chooseCloners(); err != nil {
		return nil, bad("the tree: %w", err)
	}
	var err error
	if c.records, err = decodeRecords(m.Records, table); err != nil {
		return nil, err
	}
	for i := range c.records {
		if err := c.enter(&c.records[i]); err != nil {
			return nil, bad("record %d: %w", i, err)
		}
	}
	if err := c.complete(); err != nil {
		return nil, bad("%w", err)
	}
	if err := c.wholly(table); err != nil {
		return nil, bad("%w", err)
	}
	if err := c.checkShared(); err != nil {
		return nil, bad("the tree: %w", err)
	}
	return c, nil
}

// bad marks an error as the image's fault.
func bad(format string, a ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, a...), image.ErrFormat)
}

// complete checks that every object of the tree has a kind that claims it,
// that nothing else has records, and that every reference leads somewhere.
func (c *content) complete() error {
	for _, ref := range c.sites() {
		if !c.claimed[ref] {
			return fmt.Errorf("%s has no record that says what it is", ref)
		}
	}
	for _, r := range c.records {
		if !c.known(r.ref) {
			return fmt.Errorf("%s record of %s, which is not in the tree", r.kind.Name(), r.ref)
		}
		if err := c.checkRefs(r.body); err != nil {
			return fmt.Errorf("%s of %s: %w", r.kind.Name(), r.ref, err)
		}
	}
	return nil
}

// sites lists the objects that the tree itself names.
func (c *content) sites() []plan.Ref {
	var out []plan.Ref
	for id, t := range c.tasks {
		if t.State != kind.Running && t.State != kind.Stopped {
			continue
		}
		out = append(out, plan.Ref{Site: plan.Task, ID: id}, plan.Ref{Site: plan.MM, ID: t.MM},
			plan.Ref{Site: plan.FS, ID: t.FS}, plan.Ref{Site: plan.SigHand, ID: t.SigHand})
	}
	for id := range c.threads {
		out = append(out, plan.Ref{Site: plan.Thread, ID: id})
	}
	for id := range c.mmOf {
		out = append(out, plan.Ref{Site: plan.Mapping, ID: id})
	}
	for _, t := range c.tree.FDTables {
		for _, fd := range t.FDs {
			out = append(out, fd.File.Main())
		}
	}
	return out
}

// known says whether an object may have records.
func (c *content) known(r plan.Ref) bool {
	switch r.Site {
	case plan.Thread:
		return c.threads[r.ID] != nil
	case plan.Mapping:
		return c.mmOf[r.ID] != 0
	case plan.Task, plan.MM, plan.FS, plan.SigHand, plan.FDTable:
		return c.reps[r] != nil
	}
	return c.claimed[r] // files, inodes, namespaces exist by being claimed
}
