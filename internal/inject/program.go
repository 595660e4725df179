package inject

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Program is a list of system calls with their data, built here, run in a
// task by Space.Run. A program can be run once.
type Program struct {
	calls   []call
	bufs    []buffer
	image   []byte // what was in the task's memory when it ended
	base    uint64
	size    int   // in a Space, with the control block
	recOf   []int // the first record of each call
	failed  Handle
	ran     bool
	trap    bool
	forks   bool // what it makes has a copy of its memory
	badArgs error
}

// Handle names a call of a program, counting from 0.
type Handle int

// Ref names a buffer of a program.
type Ref int

// Arg is an argument of a call.
type Arg struct {
	kind  argKind
	value uint64 // the number, or the offset into the buffer
	of    int    // the buffer or the call
}

type argKind uint8

const (
	argNumber argKind = iota
	argPointer
	argResult
)

// N is a number as an argument.
func N[T ~int | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](v T) Arg {
	return Arg{value: uint64(v)}
}

// Ptr is the address of byte off of the buffer.
func (r Ref) Ptr(off int) Arg { return Arg{kind: argPointer, value: uint64(off), of: int(r)} }

// Result is what the call, an earlier one, returned.
func (h Handle) Result() Arg { return Arg{kind: argResult, of: int(h)} }

type call struct {
	nr       uintptr
	args     []Arg
	lenient  bool // errors do not stop by themselves
	tolerate []unix.Errno
	exact    bool
	want     uint64
	stores   []store
	spin     bool     // it is no call
	born     *Program // what the task runs that it makes
}

type store struct {
	ref   Ref
	off   int
	width int
}

type buffer struct {
	data  []byte // nil for room for output
	size  int
	links []link
	at    int // offset in the image
}

type link struct {
	off  int
	to   Ref
	toAt int
}

// Trap has the program end in a trap, by which its thread stops, and the tool
// wakes, without more. It is for tasks of a restore that have no signals yet: a
// process that ignores SIGTRAP, or has one pending, would forget that
// (force_sig_info_to_task in kernel/signal.c).
func (p *Program) Trap() { p.trap = true }

// NewProgram returns an empty program.
func NewProgram() *Program { return &Program{failed: -1} }

// Grow makes room for n more calls with a buffer each.
func (p *Program) Grow(n int) {
	p.calls, p.bufs = slices.Grow(p.calls, n), slices.Grow(p.bufs, n)
}

// Call appends a system call of at most six arguments. An error return ends
// the program there, unless Tolerate says otherwise.
func (p *Program) Call(nr uintptr, args ...Arg) Handle {
	if len(args) > 6 && p.badArgs == nil {
		p.badArgs = fmt.Errorf("system call %d with %d arguments", nr, len(args))
	}
	p.calls = append(p.calls, call{nr: nr, args: args})
	return Handle(len(p.calls) - 1)
}

// Spin appends the making of threads that end at once, most of them at most,
// until one of them had the number stop. Its result is the number that the last
// one had, or an error of clone(2), which does not end the program. Only a
// process that has no thread but this one may do so.
func (p *Program) Spin(stop, most int) Handle {
	p.calls = append(p.calls, call{args: []Arg{N(stop), N(most)}, spin: true, lenient: true})
	return Handle(len(p.calls) - 1)
}

// Born has the task that h makes, by clone3(2) with CLONE_PTRACE, run a program
// of its own, which ends in a trap, as soon as it is adopted. Processes that are
// forked, so that each has a copy, may all run the same one.
func (p *Program) Born(h Handle, child *Program, forked bool) {
	child.Trap()
	p.calls[h].born = child
	p.forks = p.forks || forked
}

// Tolerate lets the program go on when h returns one of the errors, at most
// five; with none given, whatever it returns.
func (p *Program) Tolerate(h Handle, errs ...unix.Errno) {
	if len(errs) > 5 && p.badArgs == nil {
		p.badArgs = fmt.Errorf("%d errors to tolerate, at most 5", len(errs))
	}
	p.calls[h].lenient = true
	p.calls[h].tolerate = errs
}

// MustEqual ends the program after h if it returns anything but n.
func (p *Program) MustEqual(h Handle, n uint64) {
	p.calls[h].exact, p.calls[h].want = true, n
}

// Store puts the result of h into the buffer at off, as width 4 or 8 bytes,
// before the next call is made.
func (p *Program) Store(h Handle, r Ref, off, width int) {
	p.calls[h].stores = append(p.calls[h].stores, store{r, off, width})
}

// Buf adds data for calls to read or change. The slice is used as it is when
// the program starts. Buffers are aligned to 64 bytes.
func (p *Program) Buf(data []byte) Ref {
	p.bufs = append(p.bufs, buffer{data: data, size: len(data)})
	return Ref(len(p.bufs) - 1)
}

// Out adds room for n bytes that calls write; zero before.
func (p *Program) Out(n int) Ref {
	p.bufs = append(p.bufs, buffer{size: n})
	return Ref(len(p.bufs) - 1)
}

// Link puts the address of byte toAt of buffer to into buffer r at off.
func (p *Program) Link(r Ref, off int, to Ref, toAt int) {
	p.bufs[r].links = append(p.bufs[r].links, link{off, to, toAt})
}

// family is the program and those of the tasks that it makes.
func (p *Program) family() []*Program {
	all, seen := []*Program{p}, map[*Program]bool{nil: true}
	for i := range p.calls {
		if b := p.calls[i].born; !seen[b] {
			all, seen[b] = append(all, b), true
		}
	}
	return all
}

// Len is the number of calls.
func (p *Program) Len() int { return len(p.calls) }

// Size is how many bytes of a Space it takes.
func (p *Program) Size() int { return controlSize + p.layout() }

// Ret is what the call returned, -errno for an error. Of a call that was not
// made it is 0.
func (p *Program) Ret(h Handle) int64 {
	return int64(binary.LittleEndian.Uint64(p.image[p.recOf[h]*recordSize+recRet:]))
}

// Bytes is the buffer as it was when the program ended.
func (p *Program) Bytes(r Ref) []byte {
	b := &p.bufs[r]
	return p.image[b.at : b.at+b.size : b.at+b.size]
}

// Failed names the call that ended the program before its time.
func (p *Program) Failed() (h Handle, failed bool) { return p.failed, p.failed >= 0 }

// done takes in how the program ended: the record it ended at and, if it
// failed, the error.
func (p *Program) done(image []byte, last uint64, failed bool) error {
	p.image = image
	if !failed {
		return nil
	}
	rec := int(last-p.base) / recordSize
	h := 0
	for h+1 < len(p.recOf) && p.recOf[h+1] <= rec {
		h++
	}
	p.failed = Handle(h)
	e := &CallError{Handle: p.failed, Nr: p.calls[h].nr, Ret: p.Ret(p.failed)}
	for i := range e.Args {
		e.Args[i] = binary.LittleEndian.Uint64(image[p.recOf[h]*recordSize+recArgs+8*i:])
	}
	return e
}
