package kindtest

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// body checks the encoding of a record of a kind by these rules:
//
//   - what decodes encodes to the same bytes, before and after planning;
//   - two plans of it are equal;
//   - a step has a stage at which kinds act, and says what it does;
//   - a call has at most six arguments, and what it stores fits where it goes;
//   - it is made in the object itself or a process of the record, and names no
//     results but those of the object and of what the record refers to;
//   - steps and buffers are no more than the record's size can account for.
func body(k kind.Kind, b []byte) error {
	record, err := k.Decode(k.Version(), b)
	if err != nil {
		return nil // refused, as it may be
	}
	for _, h := range hosts(k.Site()) {
		steps := k.Plan(record, h)
		if again := k.Plan(record, h); !reflect.DeepEqual(steps, again) {
			return fmt.Errorf("two plans differ:\n%+v\n%+v", steps, again)
		}
		j := judge{self: h.Self, within: h.Within, refs: refs(record)}
		if err := j.steps(steps); err != nil {
			return err
		}
		if most := 64<<10 + 1024*len(b); j.size > most {
			return fmt.Errorf("a record of %d bytes has a plan of %d", len(b), j.size)
		}
	}
	again, err := image.Marshal(record)
	if err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("it encodes to %x, %w", again, err)
	}
	return k.Check(record)
}

// hosts are callers that differ in all that plans depend on.
func hosts(at plan.Site) []*kind.Host {
	root := kind.Creds{Caps: kind.CapSets{Permitted: 1<<41 - 1, Effective: 1<<41 - 1, Bounding: 1<<41 - 1}}
	user := kind.Creds{UID: kind.UIDs{Real: 1000, Effective: 1000, Saved: 1000, FS: 1000}, Groups: []credmap.GID{4, 1000},
		Caps: kind.CapSets{Bounding: 1<<41 - 1}, NoNewPrivs: true}
	caller := func(c kind.Creds, limit uint64) kind.Caller {
		var l abi.Limits
		for i := range l {
			l[i].Cur, l[i].Max = limit, limit
		}
		return kind.Caller{Creds: c, Limits: l, Born: kind.Born{Creds: c, Limits: l, CPUs: []byte{0xff}}}
	}
	within := plan.Ref{}
	switch at {
	case plan.Mapping:
		within = plan.Ref{Site: plan.MM, ID: 3}
	case plan.Thread:
		within = plan.Ref{Site: plan.Task, ID: 3}
	}
	self := plan.Ref{Site: at, ID: 7}
	return []*kind.Host{
		{Self: self, Within: within, Caller: caller(root, abi.RlimInfinity), Kernel: "6.18.0", InTree: func(kind.PID) bool { return true }},
		{Self: self, Within: within, Caller: caller(user, 1024), Kernel: "5.10.0", InTree: func(p kind.PID) bool { return p%2 == 0 }},
	}
}

// refs are the objects that a record refers to.
func refs(record any) map[plan.Ref]bool {
	out := map[plan.Ref]bool{}
	kind.Walk(record, func(v reflect.Value) error {
		switch r := v.Interface().(type) {
		case kind.FileRef:
			out[r.Main()] = true
		case kind.InodeRef:
			out[r.Main()] = true
		case kind.TaskRef:
			out[plan.Ref{Site: plan.Task, ID: uint32(r)}] = true
		case kind.BlobRef:
			out[plan.Ref{Site: blob, ID: uint32(r)}] = true
		}
		return nil
	})
	return out
}

// blob stands for bulk data, which is no site, among the things that a record
// refers to.
const blob = plan.Site(255)

// judge looks at a plan.
type judge struct {
	self, within plan.Ref
	refs         map[plan.Ref]bool
	size         int // steps, calls and buffers, by and large
}

func (j *judge) steps(steps []plan.Step) error {
	for _, s := range steps {
		j.size += 100
		if s.Stage > plan.Seal || s.Text == "" {
			return fmt.Errorf("a step at stage %v that says %q", s.Stage, s.Text)
		}
		if len(s.Ops)+len(s.Needs) == 0 {
			return fmt.Errorf("%q does nothing and needs nothing", s.Text)
		}
		for _, n := range s.Needs {
			if _, err := plan.ParseDemand(n.Demand); err != nil && len(s.Ops) > 0 {
				return fmt.Errorf("%q: %w", s.Text, err)
			}
			if n.Demand == "" || n.Why == "" {
				return fmt.Errorf("%q needs %q because %q", s.Text, n.Demand, n.Why)
			}
		}
		for _, op := range s.Ops {
			if err := j.op(op); err != nil {
				return fmt.Errorf("%q: %w", s.Text, err)
			}
		}
	}
	return nil
}

func (j *judge) op(op plan.Op) error {
	switch o := op.(type) {
	case plan.Move:
		if !j.refs[plan.Ref{Site: blob, ID: o.Blob}] || o.Blob == 0 || !j.may(o.Into) {
			return fmt.Errorf("blob %d goes into %v", o.Blob, o.Into)
		}
	case plan.Call:
		return j.call(o)
	default:
		return fmt.Errorf("an operation that is a %T", op)
	}
	return nil
}

func (j *judge) call(c plan.Call) error {
	j.size += 150
	if len(c.Args) > 6 {
		return fmt.Errorf("%s has %d arguments", abi.SyscallName(c.Nr), len(c.Args))
	}
	if !c.In.IsZero() && c.In != j.self && (c.In.Site != plan.Task || !j.refs[c.In]) {
		return fmt.Errorf("%s is made in %v", abi.SyscallName(c.Nr), c.In)
	}
	for _, r := range append(c.Makes(), c.As) {
		if !r.IsZero() && !j.may(r) {
			return fmt.Errorf("%s names %v", abi.SyscallName(c.Nr), r)
		}
	}
	for _, a := range c.Args {
		if err := j.arg(a, 0); err != nil {
			return fmt.Errorf("%s: %w", abi.SyscallName(c.Nr), err)
		}
	}
	for _, u := range c.Undo {
		if !u.In.IsZero() || len(u.Undo) > 0 {
			return fmt.Errorf("%s is undone in %v", abi.SyscallName(c.Nr), u.In)
		}
		if err := j.call(u); err != nil {
			return err
		}
	}
	return nil
}

// may says whether a plan may name a result: of the object itself, of what
// the record refers to, or the kernel's mappings of its address space.
func (j *judge) may(r plan.Ref) bool {
	main := plan.Ref{Site: r.Site, ID: r.ID}
	return main == j.self || r.ID != 0 && j.refs[main] || main == j.within && r.Site == plan.MM && r.Slot != 0 && r.Slot < kind.SlotMMOther
}

func (j *judge) arg(a plan.Arg, depth int) error {
	j.size += len(a.Buf)
	if depth > 4 {
		return fmt.Errorf("pointers to pointers without end")
	}
	switch a.Kind {
	case plan.ArgResult, plan.ArgFD, plan.ArgFDPath:
		if !j.may(a.Ref) {
			return fmt.Errorf("it names %v", a.Ref)
		}
	case plan.ArgOut:
		if len(a.Buf) == 0 || len(a.Buf) > 1<<20 {
			return fmt.Errorf("%d bytes of results", len(a.Buf))
		}
	}
	for _, r := range a.Relocs {
		if r.Off < 0 || r.Size < 0 || r.Off+r.Size > len(a.Buf) {
			return fmt.Errorf("%d bytes at %d of %d", r.Size, r.Off, len(a.Buf))
		}
		if err := j.arg(r.Arg, depth+1); err != nil {
			return err
		}
	}
	return nil
}
