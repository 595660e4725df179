package plan

import "fmt"

// Site is a sort of place that resources live in. Each object of a tree is
// a site and a number; numbers start at 1.
type Site uint8

// The sites. They are written into images: never renumber.
const (
	None Site = iota
	Task
	Thread
	MM
	FDTable
	FS
	SigHand
	OpenFile
	Inode
	Mapping
	Namespace
)

var siteNames = [...]string{"tool", "task", "thread", "mm", "fdtable", "fs", "sighand", "file", "inode", "mapping", "namespace"}

func (s Site) String() string {
	if int(s) < len(siteNames) {
		return siteNames[s]
	}
	return fmt.Sprintf("site(%d)", uint8(s))
}

// Ref names an object of the tree, or (with Slot) one of the results that
// belong to it. The zero Ref is the tool.
type Ref struct {
	Site Site
	ID   uint32
	Slot uint8
}

// IsZero says whether the Ref names nothing, that is, the tool.
func (r Ref) IsZero() bool { return r == Ref{} }

func (r Ref) String() string {
	if r.IsZero() {
		return "tool"
	}
	if r.Slot != 0 {
		return fmt.Sprintf("%s %d.%d", r.Site, r.ID, r.Slot)
	}
	return fmt.Sprintf("%s %d", r.Site, r.ID)
}

// Stage orders the work of a restore; all of one stage is done, in the whole
// tree, before the next begins.
type Stage uint8

// The stages.
const (
	Tree    Stage = iota // namespaces and tasks, with their PIDs
	Create               // objects come into being: mappings, files, pipes
	Connect              // objects are tied to each other
	Fill                 // contents
	Settle               // descriptor numbers final, protections, mm layout
	Arm                  // locks, signals, timers
	Creds                // ids, groups, capabilities: nothing after needs privilege
	Seal                 // dumpable, parent-death signal, no_new_privs, seccomp
	Commit               // the tool's one event
)

var stageNames = [...]string{"tree", "create", "connect", "fill", "settle", "arm", "creds", "seal", "commit"}

func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return fmt.Sprintf("stage(%d)", uint8(s))
}

// Step is one thing that a restore does for one object. A Step without Ops
// is a restriction that would be lost: it only carries its Needs.
type Step struct {
	Stage Stage
	Text  string // what is done, for --plan and for errors: "open /etc/motd"
	Needs []Need
	Ops   []Op
}

// Need is an authority that a step demands beyond a plain process of the
// caller's. Demand is a term of the table in docs/security.md ("uid:0",
// "pid:here", "rlimit:nofile"). Any lists demands of which one is enough.
type Need struct {
	Demand string
	Why    string
	Any    []string
	Amount uint64 // of a limit: bytes
	NS     Ref    // the user namespace it is demanded in; zero: the host's
}

// Op is a Call or a Move.
type Op interface{ op() }

// Move transfers a blob of the image into a place. The engine chooses when
// inside the stage, in which pieces and by how many workers.
type Move struct {
	Blob uint32 // index into the image's blobs, from 1
	Into Ref    // a descriptor in the tool
	// Stream writes the bytes one after another (a pipe); otherwise each
	// extent goes to its own offset (a file).
	Stream bool
}

func (Move) op() {}

// Call is one system call.
type Call struct {
	In Ref // who executes it: zero is the tool
	As Ref // the thread whose credentials the tool wears meanwhile; zero: its own
	// Maker is the recorded number of the process that makes the call in the
	// tool's place, if it has the right credentials by then, since what the call
	// makes shows who did (SO_PEERCRED in unix(7)). The descriptors are the tool's
	// all the same. Zero: the tool.
	Maker int32
	Nr    uintptr // system call number of this architecture
	Args  []Arg   // at most 6
	Ret   Ret
	Out   Ref // the name of the result; zero: nobody needs it
	// Expect holds what must be in the Out arguments afterwards; anything
	// else is a Changed error.
	Expect []Field
	// Undo takes back what would outlive the tree, if the restore fails after
	// this call: the tool executes it, in this order, and does not mind errors. A
	// call that came back with an error, if a tolerated one, has done nothing.
	Undo []Call
}

func (Call) op() {}

// Ret says which results of a call are a success. The zero Ret takes every
// result that is not an error.
type Ret struct {
	Exact    bool // the result must equal Want
	Want     int64
	Tolerate []uint16 // errno values that are as good as success
}

// Exactly demands the result n: the count of a write, the number of a descriptor.
func Exactly(n int64) Ret { return Ret{Exact: true, Want: n} }

// Result is what came back from a Call that was executed.
type Result struct {
	Ret int64    // the kernel's return value; -errno on failure
	Out [][]byte // the contents of each Out argument, in order
}

// Named visits every result of the call that has a name: its value, and the
// parts of its buffers that FDs named.
func (c Call) Named(r Result, yield func(Ref, int64)) {
	if !c.Out.IsZero() {
		yield(c.Out, r.Ret)
	}
	out := 0
	for _, a := range c.Args {
		if a.Kind != ArgOut {
			continue
		}
		for name, off := range a.Made {
			yield(name, int64(little(r.Out[out][off:off+4])))
		}
		out++
	}
}

// Makes lists the names that the call gives to results.
func (c Call) Makes() []Ref {
	var out []Ref
	if !c.Out.IsZero() {
		out = append(out, c.Out)
	}
	for _, a := range c.Args {
		for name := range a.Made {
			out = append(out, name)
		}
	}
	return out
}
