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
		c.indexed.Do(c.indexTitles)
		if t := c.title(r); t != "" {
			return t
		}
	}
	return r.String()
}

// indexTitles finds what the names of objects are made of.
func (c *content) indexTitles() {
	c.claims, c.leads = map[plan.Ref]any{}, map[plan.Ref]string{}
	for _, r := range c.records {
		if r.kind.Claims() && (r.ref.Site == plan.Inode || r.ref.Site == plan.OpenFile || r.ref.Site == plan.Mapping) {
			c.claims[r.ref] = r.body
		}
	}
	for i := range c.tree.FDTables {
		table := &c.tree.FDTables[i]
		for _, fd := range table.FDs {
			if ref := fd.File.Main(); c.leads[ref] == "" {
				c.leads[ref] = fmt.Sprintf("fd %d of %s", fd.Num, c.nameOf(plan.Ref{Site: plan.FDTable, ID: table.ID}))
			}
		}
	}
}

// title names files by their paths, descriptions by a descriptor that leads
// to them, mappings by their addresses; these with the file that is behind.
func (c *content) title(r plan.Ref) string {
	body, name := c.claims[r], c.leads[r]
	if t, ok := body.(kind.Titled); ok && r.Site == plan.Inode {
		return t.Title()
	}
	if m, ok := body.(kind.Ranged); ok && r.Site == plan.Mapping {
		start, end := m.Range()
		name = fmt.Sprintf("mapping %x-%x of %s", start, end, c.nameOf(plan.Ref{Site: plan.MM, ID: c.mmOf[r.ID]}))
	}
	if inode := inodeOf(body); name != "" && inode.ID != 0 && r.Site != plan.Inode {
		if of := c.title(inode); of != "" {
			name += ", " + of
		}
	}
	return name
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
