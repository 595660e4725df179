package restore

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// The kinds that the tests of the engine know: one that claims for each site,
// one that contributes to each process, and one to some files.
type (
	nothing struct{}
	toyFile struct {
		Inode kind.InodeRef `cbor:"1,keyasint,omitempty"`
		Peer  kind.FileRef  `cbor:"2,keyasint,omitempty"`
		Queue kind.BlobRef  `cbor:"3,keyasint,omitempty"`
		Owner kind.PID      `cbor:"4,keyasint,omitempty"`
		Task  kind.TaskRef  `cbor:"5,keyasint,omitempty"`
		Even  uint32        `cbor:"6,keyasint,omitempty"`
	}
)

func toy[S, R any](name string, at plan.Site, claims bool, steps func(R, *kind.Host) []plan.Step) kind.Kind {
	if steps == nil {
		steps = func(R, *kind.Host) []plan.Step { return nil }
	}
	return kind.New(kind.Spec[S, R]{Name: name, At: at, Claims: claims, Plan: steps})
}

func toys() kind.Table {
	return kind.Table{
		toy[*kind.TaskSite, nothing]("task", plan.Task, true, nil),
		toy[*kind.TaskSite, nothing]("note", plan.Task, false, nil),
		toy[*kind.ThreadSite, nothing]("thread", plan.Thread, true, nil),
		toy[*kind.MMSite, nothing]("mm", plan.MM, true, nil),
		toy[*kind.FSSite, nothing]("fs", plan.FS, true, nil),
		toy[*kind.SigHandSite, nothing]("sighand", plan.SigHand, true, nil),
		toy[*kind.MappingSite, nothing]("mapping", plan.Mapping, true, nil),
		toy[*kind.InodeSite, nothing]("inode", plan.Inode, true, func(_ nothing, h *kind.Host) []plan.Step {
			return madeBy(h.Self, plan.Call{Nr: unix.SYS_MEMFD_CREATE})
		}),
		toy[*kind.FileSite]("file", plan.OpenFile, true, func(r toyFile, h *kind.Host) []plan.Step {
			return madeBy(h.Self, plan.Call{Nr: unix.SYS_OPENAT, Args: []plan.Arg{plan.FDPath(r.Inode.Main())}})
		}),
		toy[*kind.FileSite]("pair", plan.OpenFile, true, planPair),
		toy[*kind.FileSite]("odd", plan.OpenFile, true, planOdd),
		kind.New(kind.Spec[*kind.FileSite, toyFile]{Name: "even", At: plan.OpenFile, Match: func(*kind.FileSite) bool { return false },
			Check: func(r toyFile) error {
				if r.Even%2 != 0 {
					return errors.New("odd")
				}
				return nil
			},
			Plan: func(toyFile, *kind.Host) []plan.Step { return nil }}),
	}
}

func madeBy(out plan.Ref, c plan.Call, more ...plan.Op) []plan.Step {
	c.Out = out
	return []plan.Step{{Stage: plan.Create, Text: "make it", Ops: append([]plan.Op{c}, more...)}}
}

// planPair is like that of a socket pair: the lower number makes both ends,
// and each writes its queue into the other.
func planPair(r toyFile, h *kind.Host) (steps []plan.Step) {
	if h.Self.ID < uint32(r.Peer) {
		steps = madeBy(plan.Ref{}, plan.Call{Nr: unix.SYS_SOCKETPAIR, Args: []plan.Arg{plan.FDs(h.Self, r.Peer.Main())}})
	}
	if r.Queue != 0 {
		steps = append(steps, plan.Step{Stage: plan.Fill, Text: "fill it", Ops: []plan.Op{plan.Move{Blob: uint32(r.Queue), Into: r.Peer.Main(), Stream: true}}})
	}
	return steps
}

// planOdd names what its record says wherever a call can.
func planOdd(r toyFile, h *kind.Host) []plan.Step {
	steps := madeBy(h.Self, plan.Call{Nr: unix.SYS_EVENTFD2})
	add := func(c plan.Call) {
		steps = append(steps, plan.Step{Stage: plan.Connect, Text: "use it", Ops: []plan.Op{c}})
	}
	if r.Owner != 0 {
		add(plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Buf(make([]byte, 8), plan.Reloc{Off: 4, Size: 4, Arg: plan.PID(r.Owner)})}})
	}
	if r.Peer != 0 {
		add(plan.Call{Nr: unix.SYS_EPOLL_CTL, Args: []plan.Arg{plan.FD(r.Peer.Main())}})
	}
	if r.Task != 0 {
		add(plan.Call{In: plan.Ref{Site: plan.Task, ID: uint32(r.Task)}, Nr: unix.SYS_GETPID})
	}
	switch r.Even {
	case 1: // a name that nobody makes
		add(plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.ResultOf(plan.Ref{Site: plan.OpenFile, ID: h.Self.ID, Slot: 9})}})
	case 2: // somebody else's inode, in another way
		add(plan.Call{Nr: unix.SYS_OPENAT, Args: []plan.Arg{plan.Str("/etc/passwd")}, Out: r.Inode.Main()})
	case 3: // made later
		add(plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.FD(plan.Ref{Site: plan.OpenFile, ID: h.Self.ID, Slot: 8})}})
		steps = append(steps, plan.Step{Stage: plan.Arm, Text: "late", Ops: []plan.Op{
			plan.Call{Nr: unix.SYS_EVENTFD2, Out: plan.Ref{Site: plan.OpenFile, ID: h.Self.ID, Slot: 8}}}})
	case 4: // executed where nobody executes anything
		add(plan.Call{In: h.Self, Nr: unix.SYS_GETPID})
	}
	return steps
}

// draft is an image that is not written yet.
type draft struct {
	t    *testing.T
	tree kind.Tree
	m    image.Manifest
}

// newDraft is a tree of two processes, the first with two threads, and a
// zombie, with two descriptors, one of which both have.
func newDraft(t *testing.T) *draft {
	d := &draft{t: t, m: image.Manifest{PIDs: image.PIDs{100, 101, 102, 103},
		Blobs: []image.Blob{{Extents: image.Extents{{Off: 0x10000, Len: 4096}}}, {Extents: image.Extents{{Off: 0, Len: 4096}}}}}}
	regs := make([]uint64, abi.SizeofRegs/8)
	regs[17] = abi.CS64
	thread := func(id uint32, tid kind.PID) kind.ThreadNode {
		return kind.ThreadNode{ID: id, TID: tid, Regs: regs, XStateOff: uint64(id-1) * minXState, XStateLen: minXState}
	}
	d.tree = kind.Tree{
		Tasks: []kind.TaskNode{
			{ID: 1, PID: 100, Group: 100, Session: 100, Comm: []byte("one"), MM: 1, FDTable: 1, FS: 1, SigHand: 1, ExitSignal: 17,
				Threads: []kind.ThreadNode{thread(1, 100), thread(2, 101)}},
			{ID: 2, Parent: 1, PID: 102, Group: 100, Session: 100, Comm: []byte("two"), MM: 2, FDTable: 2, FS: 2, SigHand: 2, ExitSignal: 17,
				Threads: []kind.ThreadNode{thread(3, 102)}},
			{ID: 3, Parent: 1, PID: 103, Group: 100, Session: 100, Comm: []byte("three"), State: kind.Zombie, Exit: 7 << 8, ExitSignal: 17},
		},
		MMs: []kind.MMNode{{ID: 1, Pages: 1, First: 1, Mappings: 2, Used: image.Extents{{Off: 0x10000, Len: 0x10000}}},
			{ID: 2, First: 3, Mappings: 1, Used: image.Extents{{Off: 0x10000, Len: 0x10000}}}},
		FDTables: []kind.FDTableNode{{ID: 1, FDs: []kind.FDNode{{Num: 0, File: 1}, {Num: 5, File: 2}}}, {ID: 2, FDs: []kind.FDNode{{Num: 0, File: 1}}}},
		XState:   2,
	}
	for _, r := range []struct {
		at    plan.Site
		kind  string
		count uint32
	}{{plan.Inode, "inode", 1}, {plan.Task, "task", 2}, {plan.Task, "note", 2}, {plan.Thread, "thread", 3}, {plan.MM, "mm", 2}, {plan.FS, "fs", 2},
		{plan.SigHand, "sighand", 2}, {plan.Mapping, "mapping", 3}} {
		for id := range r.count {
			d.add(r.at, id+1, r.kind, nothing{})
		}
	}
	d.add(plan.OpenFile, 1, "file", toyFile{Inode: 1})
	d.add(plan.OpenFile, 2, "odd", toyFile{Peer: 1, Owner: 102, Task: 2, Inode: 1})
	return d
}

func (d *draft) add(at plan.Site, id uint32, name string, body any) {
	b, err := image.Marshal(body)
	if err != nil {
		d.t.Fatal(err)
	}
	d.m.Records = append(d.m.Records, image.Record{Site: uint8(at), ID: id, Kind: name, Version: 1, Body: b})
}

// leaveOut drops a record.
func (d *draft) leaveOut(at plan.Site, id uint32, name string) {
	d.m.Records = slices.DeleteFunc(d.m.Records, func(r image.Record) bool { return r.Site == uint8(at) && r.ID == id && r.Kind == name })
}

// set replaces a record.
func (d *draft) set(at plan.Site, id uint32, name string, body any) {
	for i, r := range d.m.Records {
		if r.Site == uint8(at) && r.ID == id {
			d.m.Records = append(d.m.Records[:i:i], d.m.Records[i+1:]...)
			break
		}
	}
	d.add(at, id, name, body)
}

// read is what a restore does with an image before it acts.
func (d *draft) read() error {
	b, err := image.Marshal(&d.tree)
	if err != nil {
		d.t.Fatal(err)
	}
	d.m.Tree = b
	c, err := decode(&d.m, toys())
	if err != nil {
		return err
	}
	return c.checkFlow(c.plan(kind.Host{}))
}
