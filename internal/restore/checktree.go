package restore

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// maxPID is PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h).
const maxPID = 4 << 20

// checkTree refuses a tree that no dump can have written, and indexes it.
func (c *content) checkTree() error {
	if len(c.tree.Tasks) == 0 || !alive(&c.tree.Tasks[0]) {
		return fmt.Errorf("it has no root that runs")
	}
	if err := c.indexTables(); err != nil {
		return err
	}
	for i := range c.tree.Tasks {
		t := &c.tree.Tasks[i]
		if err := c.checkTask(i, t); err != nil {
			return fmt.Errorf("process %d: %w", t.PID, err)
		}
	}
	return c.checkPIDList()
}

func alive(t *kind.TaskNode) bool { return t.State == kind.Running || t.State == kind.Stopped }

func (c *content) indexTables() error {
	for i := range c.tree.MMs {
		m := &c.tree.MMs[i]
		if m.ID == 0 || c.mms[m.ID] != nil || int(m.Pages) > len(c.manifest.Blobs) || m.Mappings > 1<<20 {
			return fmt.Errorf("address space %d", m.ID)
		}
		if err := m.Used.Check(); err != nil {
			return err
		}
		c.mms[m.ID] = m
		for id := m.First; id < m.First+m.Mappings; id++ {
			if id == 0 || c.mmOf[id] != 0 {
				return fmt.Errorf("mapping %d belongs to two address spaces", id)
			}
			c.mmOf[id] = m.ID
		}
	}
	for i := range c.tree.FDTables {
		t := &c.tree.FDTables[i]
		if t.ID == 0 || c.tables[t.ID] != nil {
			return fmt.Errorf("descriptor table %d", t.ID)
		}
		last := int32(-1)
		for _, fd := range t.FDs {
			if fd.Num <= last || fd.Num >= 1<<24 || fd.File == 0 {
				return fmt.Errorf("descriptor %d of table %d", fd.Num, t.ID)
			}
			last = fd.Num
		}
		c.tables[t.ID] = t
	}
	return nil
}

func (c *content) checkTask(i int, t *kind.TaskNode) error {
	if t.ID == 0 || c.tasks[t.ID] != nil {
		return fmt.Errorf("its number %d", t.ID)
	}
	if t.Parent != 0 && c.tasks[uint32(t.Parent)] == nil || i == 0 && t.Parent != 0 {
		return fmt.Errorf("its parent does not stand before it")
	}
	if t.Parent != 0 && !alive(c.tasks[uint32(t.Parent)]) {
		return fmt.Errorf("its parent is dead")
	}
	if t.State > kind.Vacant || t.StopSignal > 64 || t.ExitSignal > 64 {
		return fmt.Errorf("its state")
	}
	c.tasks[t.ID] = t
	if !alive(t) {
		if len(t.Threads) != 0 || t.MM != 0 {
			return fmt.Errorf("it is dead and has threads or memory")
		}
		return c.occupy(t.PID)
	}
	return c.checkLiving(t)
}

func (c *content) checkLiving(t *kind.TaskNode) error {
	if len(t.Threads) == 0 || t.Threads[0].TID != t.PID {
		return fmt.Errorf("its first thread")
	}
	if c.mms[t.MM] == nil || c.tables[t.FDTable] == nil || t.FS == 0 || t.SigHand == 0 {
		return fmt.Errorf("its memory, descriptors, directories or signal actions are not there")
	}
	for _, r := range []plan.Ref{t.Ref(), {Site: plan.MM, ID: t.MM}, {Site: plan.FDTable, ID: t.FDTable},
		{Site: plan.FS, ID: t.FS}, {Site: plan.SigHand, ID: t.SigHand}} {
		if c.reps[r] == nil {
			c.reps[r] = t
		}
	}
	for i := range t.Threads {
		if err := c.checkThread(t, &t.Threads[i]); err != nil {
			return fmt.Errorf("thread %d: %w", t.Threads[i].TID, err)
		}
	}
	return nil
}

// maxXState bounds the extended registers of a thread: with AMX they are
// about 11 KiB.
const maxXState = 64 << 10

func (c *content) checkThread(t *kind.TaskNode, th *kind.ThreadNode) error {
	if th.ID == 0 || c.threads[th.ID] != nil {
		return fmt.Errorf("its number %d", th.ID)
	}
	if len(th.Regs) != abi.SizeofRegs/8 {
		return fmt.Errorf("%d general registers", len(th.Regs))
	}
	if th.XStateLen > maxXState || th.XStateLen > 0 && c.tree.XState == 0 {
		return fmt.Errorf("extended registers of %d bytes", th.XStateLen)
	}
	c.threads[th.ID], c.taskOf[th.ID] = th, t.ID
	return c.occupy(th.TID)
}

func (c *content) occupy(pid kind.PID) error {
	if pid <= 0 || pid > maxPID || c.byPID[pid] {
		return fmt.Errorf("number %d is impossible or taken twice", pid)
	}
	c.byPID[pid] = true
	return nil
}

// checkPIDList compares the tree with the fixed table of numbers that the
// manifest reserves.
func (c *content) checkPIDList() error {
	if len(c.manifest.PIDs) != len(c.byPID) {
		return fmt.Errorf("%d numbers are reserved for %d threads", len(c.manifest.PIDs), len(c.byPID))
	}
	for _, pid := range c.manifest.PIDs {
		if !c.byPID[kind.PID(pid)] {
			return fmt.Errorf("number %d is reserved for nobody", pid)
		}
	}
	return nil
}
