package restore

import (
	"fmt"
	"reflect"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// nameOf is how messages speak of an object.
func (c *content) nameOf(r plan.Ref) string {
	r.Slot = 0
	switch r.Site {
	case plan.Task, plan.MM, plan.FS, plan.SigHand, plan.FDTable:
		if t := c.reps[r]; t != nil {
			return fmt.Sprintf("process %d (%+q)", t.PID, t.Comm)
		}
	case plan.Thread:
		if th := c.threads[r.ID]; th != nil {
			return fmt.Sprintf("thread %d", th.TID)
		}
	case plan.OpenFile, plan.Inode, plan.Mapping:
		c.entitled.Do(func() { c.titles = c.entitle() })
		if t := c.titles[r]; t != "" {
			return t
		}
	}
	return r.String()
}

// entitle names files by their paths, descriptions by a descriptor that leads
// to them, mappings by their addresses.
func (c *content) entitle() map[plan.Ref]string {
	titles := map[plan.Ref]string{}
	for _, r := range c.records {
		if t, ok := r.body.(kind.Titled); ok && r.kind.Claims() && r.ref.Site == plan.Inode {
			titles[r.ref] = t.Title()
		}
	}
	for i := range c.tree.FDTables {
		table := &c.tree.FDTables[i]
		for _, fd := range table.FDs {
			if ref := fd.File.Main(); titles[ref] == "" {
				titles[ref] = fmt.Sprintf("fd %d of %s", fd.Num, c.nameOf(plan.Ref{Site: plan.FDTable, ID: table.ID}))
			}
		}
	}
	for _, r := range c.records {
		if m, ok := r.body.(kind.Ranged); ok && r.kind.Claims() && r.ref.Site == plan.Mapping {
			start, end := m.Range()
			titles[r.ref] = fmt.Sprintf("mapping %x-%x of %s", start, end, c.nameOf(plan.Ref{Site: plan.MM, ID: c.mmOf[r.ref.ID]}))
		}
		if of := titles[inodeOf(r.body)]; of != "" && titles[r.ref] != "" && r.kind.Claims() && r.ref.Site != plan.Inode {
			titles[r.ref] += ", " + of
		}
	}
	return titles
}

// inodeOf is the first inode that a record refers to.
func inodeOf(body any) (ref plan.Ref) {
	kind.Walk(body, func(v reflect.Value) error {
		if i, ok := v.Interface().(kind.InodeRef); ok && ref.ID == 0 && i != 0 {
			ref = i.Main()
		}
		return nil
	})
	return ref
}
