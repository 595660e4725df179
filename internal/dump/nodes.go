package dump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// tree makes the engine's own part of the image.
func (s *session) tree() (*kind.Tree, error) {
	t := &kind.Tree{}
	var xstate []byte
	for _, p := range s.procs {
		n, err := s.node(p, &xstate)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name(), err)
		}
		t.Tasks = append(t.Tasks, n)
	}
	t.Tasks = append(t.Tasks, s.vacant(t.Tasks)...)
	for _, f := range s.fdtables {
		t.FDTables = append(t.FDTables, kind.FDTableNode{ID: f.ID, FDs: f.FDs})
	}
	err := s.findShared(t.Tasks)
	if err != nil {
		return nil, err
	}
	if t.MMs, err = s.memories(); err != nil {
		return nil, err
	}
	if len(xstate) > 0 {
		t.XState, err = s.Blob(bytes.NewReader(xstate), []image.Extent{{Off: 0, Len: uint64(len(xstate))}})
	}
	return t, err
}

// node describes one process.
func (s *session) node(p *process, xstate *[]byte) (kind.TaskNode, error) {
	n := kind.TaskNode{ID: s.taskID(p), PID: kind.PID(p.pid), Comm: []byte(p.stat.Comm), ExitSignal: uint8(p.stat.ExitSig),
		Session: s.within(p.stat.Session)}
	if parent := s.byPID[p.ppid]; parent != nil && p != s.procs[0] {
		n.Parent = kind.TaskRef(s.taskID(parent))
	}
	n.Group = s.group(p)
	if p.zombie {
		n.State, n.Exit = kind.Zombie, p.stat.ExitCode
		return n, nil
	}
	if stop := s.frozen[p.pid].Stop(); stop.Kind == inject.StopGroup {
		n.State, n.StopSignal = kind.Stopped, uint8(stop.Signal)
	}
	n.MM, n.FDTable, n.FS, n.SigHand = p.site.MM.ID, p.site.FDTable.ID, p.site.FS.ID, p.site.SigHand.ID
	for _, th := range p.site.Threads {
		tn, err := s.threadNode(th, xstate)
		if err != nil {
			return n, fmt.Errorf("thread %d: %w", th.TID, err)
		}
		n.Threads = append(n.Threads, tn)
	}
	return n, nil
}

// taskID numbers zombies behind the tasks that have a site.
func (s *session) taskID(p *process) uint32 {
	if p.site != nil {
		return p.site.ID
	}
	id := uint32(len(s.tasks))
	for _, q := range s.procs {
		if q.site == nil {
			id++
		}
		if q == p {
			break
		}
	}
	return id
}

// within is id if a process of the tree has it as its PID, else 0.
func (s *session) within(id int32) kind.PID {
	if s.byPID[int(id)] != nil {
		return kind.PID(id)
	}
	return 0
}

// group is the process group of p: 0 if it is one that ckpt's own side of
// the fence leads, like that of a shell's job.
func (s *session) group(p *process) kind.PID {
	g := p.stat.Pgrp
	if s.within(g) != 0 || s.within(p.stat.Session) != 0 {
		return kind.PID(g)
	}
	if g == s.procs[0].stat.Pgrp || processExists(int(g)) {
		return 0
	}
	return kind.PID(g)
}

func processExists(pid int) bool {
	d, err := kernelio.OpenProc(pid)
	if err == nil {
		d.Close()
	}
	return err == nil
}

// vacant lists the process groups whose leader is gone: somebody must bear
// their number for a moment when they are made again.
func (s *session) vacant(nodes []kind.TaskNode) []kind.TaskNode {
	var out []kind.TaskNode
	next := uint32(len(s.procs) + 1)
	for _, n := range nodes {
		g := n.Group
		if g == 0 || s.byPID[int(g)] != nil || slices.ContainsFunc(out, func(v kind.TaskNode) bool { return v.PID == g }) {
			continue
		}
		out = append(out, kind.TaskNode{ID: next, Parent: n.Parent, PID: g, Group: g, Session: n.Session, State: kind.Vacant})
		next++
	}
	return out
}

func (s *session) threadNode(th *kind.ThreadSite, xstate *[]byte) (kind.ThreadNode, error) {
	n := kind.ThreadNode{ID: th.ID, TID: th.TID, XStateOff: uint64(len(*xstate))}
	f := s.frozen[int(th.TID)]
	regs, err := f.Regs()
	if err != nil {
		return n, err
	}
	regs = abi.Restartable(regs)
	if err := leaveCriticalSection(&regs, th); err != nil {
		return n, err
	}
	n.Regs = words(regs.AppendTo(nil))
	x, err := f.XState()
	if err != nil {
		return n, err
	}
	s.xstate = xstateOf(x)
	if *xstate == nil {
		*xstate = make([]byte, 0, len(s.threads)*len(x)) // alike for all, as a rule
	}
	*xstate = append(*xstate, x...)
	n.XStateLen = uint32(len(x))
	mask, err := f.SigMask()
	n.Mask = uint64(mask)
	return n, err
}

// xstateOf reads which extended registers the kernel saves. It puts the mask
// into bytes 464 to 471, which the legacy area leaves to software
// (struct xregs_state, arch/x86/kernel/fpu/xstate.c).
func xstateOf(x []byte) image.Xstate {
	if len(x) < 472 {
		return image.Xstate{}
	}
	return image.Xstate{Size: uint32(len(x)), Features: binary.LittleEndian.Uint64(x[464:])}
}

func words(b []byte) []uint64 {
	out := make([]uint64, len(b)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return out
}

// leaveCriticalSection moves a thread that stopped inside a restartable
// sequence to its abort handler, as the kernel does with one that was
// preempted there (rseq_ip_fixup in kernel/rseq.c): when it runs again, it
// may be on another CPU.
func leaveCriticalSection(r *abi.Regs, th *kind.ThreadSite) error {
	if th.RSeq.Addr == 0 {
		return nil
	}
	pid := int(th.Task.PID)
	var area [32]byte // struct rseq of linux/rseq.h; rseq_cs at 8
	if _, err := kernelio.ReadMem(pid, th.RSeq.Addr, area[:]); err != nil {
		return fmt.Errorf("reading its rseq area: %w", err)
	}
	at := binary.LittleEndian.Uint64(area[8:])
	if at == 0 {
		return nil
	}
	var cs [32]byte // struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip
	if _, err := kernelio.ReadMem(pid, at, cs[:]); err != nil {
		return nil // left behind by a library that was unloaded; the kernel would not reach it either
	}
	start, length := binary.LittleEndian.Uint64(cs[8:]), binary.LittleEndian.Uint64(cs[16:])
	if r.Rip-start < length {
		r.Rip = binary.LittleEndian.Uint64(cs[24:])
	}
	return nil
}
