package calls

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/plan"
)

// Program collects calls that one thread of a stopped task executes in a
// row. A call may use the results of the calls before it.
type Program struct {
	Inject *inject.Program
	names  Names
	made   map[plan.Ref]inject.Handle
	calls  []compiled
}

type compiled struct {
	call   plan.Call
	tag    any
	handle inject.Handle
	out    []inject.Ref
}

// NewProgram makes an empty program. Names are those of the process that
// will execute it.
func NewProgram(n Names) *Program {
	return &Program{Inject: inject.NewProgram(), names: n, made: map[plan.Ref]inject.Handle{}}
}

// Grow makes room for n more calls, for one who knows how many will come.
func (p *Program) Grow(n int) {
	p.calls = slices.Grow(p.calls, n)
	p.Inject.Grow(n)
}

// Len is the number of calls so far.
func (p *Program) Len() int { return len(p.calls) }

// Add appends a call. Tag comes back with an error that the call causes. In
// lenient programs errors are results like others; see AddLenient.
func (p *Program) Add(c plan.Call, tag any) error {
	h, err := p.add(c, tag)
	if err != nil {
		return err
	}
	if c.Ret.Exact {
		p.Inject.MustEqual(h, uint64(c.Ret.Want))
	}
	if len(c.Ret.Tolerate) > 0 {
		errnos := make([]unix.Errno, len(c.Ret.Tolerate))
		for i, e := range c.Ret.Tolerate {
			errnos[i] = unix.Errno(e)
		}
		p.Inject.Tolerate(h, errnos...)
	}
	return nil
}

// Born has the task that the last call makes, by clone3(2), run a program of its
// own as soon as it is adopted; all that are forked may run the same one.
func (p *Program) Born(child *Program, forked bool) {
	p.Inject.Born(p.calls[len(p.calls)-1].handle, child.Inject, forked)
}

// AddLenient appends a call whose error ends nothing and is a result.
func (p *Program) AddLenient(c plan.Call) error {
	h, err := p.add(c, nil)
	if err == nil {
		p.Inject.Tolerate(h)
	}
	return err
}

func (p *Program) add(c plan.Call, tag any) (inject.Handle, error) {
	k := compiled{call: c, tag: tag}
	args := make([]inject.Arg, len(c.Args))
	for i, a := range c.Args {
		v, err := p.arg(a, &k)
		if err != nil {
			return k.handle, fmt.Errorf("%s: argument %d: %w", abi.SyscallName(c.Nr), i+1, err)
		}
		args[i] = v
	}
	k.handle = p.Inject.Call(c.Nr, args...)
	if !c.Out.IsZero() {
		p.made[c.Out] = k.handle
	}
	p.calls = append(p.calls, k)
	return k.handle, nil
}

func (p *Program) arg(a plan.Arg, k *compiled) (inject.Arg, error) {
	if h, ok := p.made[a.Ref]; ok && (a.Kind == plan.ArgResult || a.Kind == plan.ArgFD) {
		return h.Result(), nil
	}
	if !isPointer(a) {
		v, err := value(a, p.names)
		return inject.N(v), err
	}
	r, err := p.buffer(a)
	if a.Kind == plan.ArgOut {
		k.out = append(k.out, r)
	}
	return r.Ptr(0), err
}

// buffer lays out the bytes of a pointer argument in the task.
func (p *Program) buffer(a plan.Arg) (inject.Ref, error) {
	b, err := bytesOf(a, p.names)
	if err != nil {
		return 0, err
	}
	var late []plan.Reloc
	for _, r := range a.Relocs {
		if !stored(r) {
			continue
		}
		if err := fits(b, r); err != nil {
			return 0, err
		}
		_, made := p.made[r.Arg.Ref]
		if isPointer(r.Arg) || made && (r.Arg.Kind == plan.ArgResult || r.Arg.Kind == plan.ArgFD) {
			late = append(late, r)
			continue
		}
		if err := store(b, r, p.names); err != nil {
			return 0, err
		}
	}
	ref := p.Inject.Buf(b)
	return ref, p.late(ref, late)
}

// late has values put into a buffer that are known only inside the task.
func (p *Program) late(ref inject.Ref, relocs []plan.Reloc) error {
	for _, r := range relocs {
		if !isPointer(r.Arg) {
			p.Inject.Store(p.made[r.Arg.Ref], ref, r.Off, r.Size)
			continue
		}
		inner, err := p.buffer(r.Arg)
		if err != nil {
			return err
		}
		p.Inject.Link(ref, r.Off, inner, 0)
	}
	return nil
}

// Results gives what each call returned, in order, after the program ran.
func (p *Program) Results() []plan.Result {
	out := make([]plan.Result, len(p.calls))
	for i := range p.calls {
		out[i] = p.result(&p.calls[i])
	}
	return out
}

func (p *Program) result(c *compiled) (out plan.Result) {
	out.Ret = p.Inject.Ret(c.handle)
	for _, r := range c.out {
		out.Out = append(out.Out, p.Inject.Bytes(r))
	}
	return out
}

// Check holds the results against what the calls expect of them, after the
// program ran. The tag is that of the call that disappoints.
func (p *Program) Check() (tag any, err error) {
	for i := range p.calls {
		c := &p.calls[i]
		if len(c.call.Expect) == 0 {
			continue
		}
		if err := plan.Compare(c.call.Expect, p.result(c).Out); err != nil {
			return c.tag, err
		}
	}
	return nil, nil
}

// Made gives the results that have names, after the program ran.
func (p *Program) Made(yield func(plan.Ref, int64)) {
	for i := range p.calls {
		if c := &p.calls[i]; !c.call.Out.IsZero() || len(c.out) > 0 {
			c.call.Named(p.result(c), yield)
		}
	}
}

// Failed finds the call that ended the program: its tag and the call.
func (p *Program) Failed() (tag any, c plan.Call, ok bool) {
	h, bad := p.Inject.Failed()
	if !bad {
		return nil, plan.Call{}, false
	}
	for _, k := range p.calls {
		if k.handle == h {
			return k.tag, k.call, true
		}
	}
	return nil, plan.Call{}, false
}

// Succeeded visits the calls before the one that ended the program, or all.
func (p *Program) Succeeded(yield func(plan.Call) bool) {
	h, bad := p.Inject.Failed()
	for i := range p.calls {
		if k := &p.calls[i]; bad && k.handle == h || !yield(k.call) {
			return
		}
	}
}

// Size is room enough for the program inside a task, in bytes.
func (p *Program) Size() uint64 {
	n := uint64(4096 + 128*len(p.calls))
	for _, c := range p.calls {
		for _, a := range c.call.Args {
			n += bufferSize(a)
		}
	}
	return n
}

func bufferSize(a plan.Arg) uint64 {
	n := uint64(len(a.Buf)+127) &^ 63
	for _, r := range a.Relocs {
		n += bufferSize(r.Arg)
	}
	return n
}
