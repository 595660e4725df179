package restore

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// maxPID is PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h).
const maxPID = 4 << 20

// checkTree refuses a tree that no dump can have written, and indexes it.
func (c *content) checkTree() error {
	if len(c.tree.Tasks) == 0 || !alive(&c.tree.Tasks[0]) {
		return fmt.Errorf("it has no root that runs")
	}
	if int(c.tree.XState) > len(c.manifest.Blobs) {
		return fmt.Errorf("its extended registers are blob %d of %d", c.tree.XState, len(c.manifest.Blobs))
	}
	if err := c.indexMMs(); err != nil {
		return err
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
	if c.tree.XState != 0 && c.manifest.Blobs[c.tree.XState-1].Size() > maxXState*uint64(len(c.threads)) {
		return fmt.Errorf("its extended registers are too many")
	}
	if err := c.checkUse(); err != nil {
		return err
	}
	return c.checkPIDList()
}

func alive(t *kind.TaskNode) bool { return t.State == kind.Running || t.State == kind.Stopped }

func (c *content) indexMMs() error {
	for i := range c.tree.MMs {
		m := &c.tree.MMs[i]
		if m.ID == 0 || c.mms[m.ID] != nil {
			return fmt.Errorf("address space %d", m.ID)
		}
		if err := c.checkMM(m); err != nil {
			return fmt.Errorf("address space %d: %w", m.ID, err)
		}
		c.mms[m.ID] = m
	}
	return nil
}

// checkMM bounds the mappings by the records, since each needs one.
func (c *content) checkMM(m *kind.MMNode) error {
	if err := m.Used.Check(); err != nil {
		return err
	}
	if left := len(c.manifest.Records) - len(c.mmOf); int64(m.Mappings) > int64(left) || m.First > ^uint32(0)-m.Mappings {
		return fmt.Errorf("%d mappings from %d on", m.Mappings, m.First)
	}
	for id := m.First; id < m.First+m.Mappings; id++ {
		if id == 0 || c.mmOf[id] != 0 {
			return fmt.Errorf("mapping %d belongs to two address spaces", id)
		}
		c.mmOf[id] = m.ID
	}
	if m.Pages == 0 {
		return nil
	}
	if int(m.Pages) > len(c.manifest.Blobs) {
		return fmt.Errorf("its pages are blob %d of %d", m.Pages, len(c.manifest.Blobs))
	}
	if !inside(c.manifest.Blobs[m.Pages-1].Extents, m.Used) {
		return fmt.Errorf("it has pages where it has no memory")
	}
	return nil
}

// inside says whether all of x lies within y: what does not could lie in
// rstr's own code in the process, for which y leaves room. Both are in order.
func inside(x, y image.Extents) bool {
	for _, e := range x {
		for at := e.Off; at < e.End(); {
			for len(y) > 0 && y[0].End() <= at {
				y = y[1:]
			}
			if len(y) == 0 || y[0].Off > at {
				return false
			}
			at = y[0].End()
		}
	}
	return true
}

func (c *content) indexTables() error {
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

// checkUse refuses what no process uses, and sessions and groups that nobody
// in the tree bears the number of: those could be anybody's.
func (c *content) checkUse() error {
	for id := range c.mms {
		if c.reps[plan.Ref{Site: plan.MM, ID: id}] == nil {
			return fmt.Errorf("address space %d is nobody's", id)
		}
	}
	for id := range c.tables {
		if c.reps[plan.Ref{Site: plan.FDTable, ID: id}] == nil {
			return fmt.Errorf("descriptor table %d is nobody's", id)
		}
	}
	for i := range c.tree.Tasks {
		t := &c.tree.Tasks[i]
		if t.Group != 0 && !c.byPID[t.Group] || t.Session != 0 && !c.byPID[t.Session] {
			return fmt.Errorf("process %d: its group %d or session %d is not in the tree", t.PID, t.Group, t.Session)
		}
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
	if t.State > kind.Vacant || t.StopSignal > 64 || t.ExitSignal > 64 || t.State == kind.Zombie && !canEnd(t.Exit) {
		return fmt.Errorf("its state")
	}
	if len(t.Comm) > maxComm || bytes.IndexByte(t.Comm, 0) >= 0 {
		return fmt.Errorf("its name")
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

// maxComm is TASK_COMM_LEN without the final NUL (linux/sched.h). A kernel
// thread's may be longer, but is in no tree.
const maxComm = 15

// canEnd says whether a process can end with a wait status: by exit(2), or by
// a signal that does end processes (signal(7)).
func canEnd(status uint32) bool {
	switch sig := unix.Signal(status & 0x7f); sig {
	case 0:
		return status&^0xff00 == 0
	case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	default:
		return sig <= 64 && status&^0xff == 0
	}
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

// Bounds of the extended registers of a thread: the legacy area and the header
// of XSAVE are always there (Intel SDM, volume 1, 13.4); with AMX they are about
// 11 KiB.
const (
	minXState = 512 + 64
	maxXState = 64 << 10
)

func (c *content) checkThread(t *kind.TaskNode, th *kind.ThreadNode) error {
	if th.ID == 0 || c.threads[th.ID] != nil {
		return fmt.Errorf("its number %d", th.ID)
	}
	if _, err := regsOf(th); err != nil {
		return err
	}
	if err := c.checkXState(th); err != nil {
		return err
	}
	c.threads[th.ID], c.taskOf[th.ID] = th, t.ID
	return c.occupy(th.TID)
}

func (c *content) checkXState(th *kind.ThreadNode) error {
	var size uint64
	if c.tree.XState != 0 {
		size = c.manifest.Blobs[c.tree.XState-1].Size()
	}
	if th.XStateLen < minXState || th.XStateLen > maxXState || th.XStateOff > size || uint64(th.XStateLen) > size-th.XStateOff {
		return fmt.Errorf("extended registers of %d bytes at %d", th.XStateLen, th.XStateOff)
	}
	return nil
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
