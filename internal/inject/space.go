package inject

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Space is memory inside a process where programs run: first the code, then
// data. Several threads of the process may use it at once.
type Space struct {
	tr    *Tracer
	mem   *kernelio.TraceeMem
	lo    uint64
	text  uint64 // the code
	data  heap
	hi    uint64
	slots map[*Thread]*slot

	home    *home // of a dump; nil for a restore
	barrier uint64
}

// slot is what a Space keeps for one thread.
type slot struct {
	frame   uint64 // its signal frame, 0 if there is none
	leave   uint64 // where it goes when its program has ended; 0: nowhere
	running *running
	blocked abi.SigSet // its signals that are, but for what it was born with
	stop    bool       // Park's
}

// running is a program that was started. Its control block lies before it.
type running struct {
	p       *Program
	control uint64
	size    int // of both
	span    int // what it gives back; 0: it is a copy, and nobody's

	ended       bool // and its thread was asked to stop
	state, last uint64
	image       []byte // what was in memory then; nil: it is to be read
	err         error
}

func (r *running) addr() uint64 { return r.control + controlSize }

// Of the control block, as interp_amd64.s has it: the state, the last record,
// the frame to leave by, a timespec that the code fills in, the length of a
// tick in nanoseconds and how many to wait, and the tool's thread to look for
// at each, of which the process is 0 if the target cannot see it.
const (
	controlSize  = 64
	controlLeave = 16
	controlTick  = 40

	stateDone   = 1
	stateFailed = 2
)

// SlotSize is what a thread takes in a Space beside its programs, at most.
const SlotSize = 16 << 10

// How long a thread that ended its program waits for the tool. A live tool
// answers within microseconds, or when it gets a processor; a target that
// can see that the tool has died goes on after a tick.
const (
	tick     = 10 * time.Millisecond
	grace    = 30 * time.Second
	unseeing = time.Second // of a target that cannot see the tool
)

// control gives the control block of a program that is about to start.
func (s *Space) control(sl *slot, p *Program) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(make([]byte, controlLeave, controlSize), sl.leave)
	b = append(b, make([]byte, controlTick-len(b))...)
	if sl.traps(p) {
		return b[:controlSize]
	}
	b = le.AppendUint64(b, uint64(tick))
	if s.home == nil || !s.home.sees {
		return append(le.AppendUint64(b, uint64(unseeing/tick)), make([]byte, 8)...)
	}
	b = le.AppendUint64(b, uint64(grace/tick))
	b = le.AppendUint32(b, uint32(os.Getpid()))
	return le.AppendUint32(b, uint32(s.tr.tid))
}

// allSignals blocks what can be blocked, allButTraps all but what ends a program
// that traps.
const (
	allSignals  = ^abi.SigSet(0)
	allButTraps = allSignals &^ (1 << (unix.SIGTRAP - 1))
)

// Range is the memory of the Space, all of it.
func (s *Space) Range() (lo, hi uint64) { return s.lo, s.hi }

// Run runs the program in the thread and waits for its end. The error is a
// *CallError if a call failed.
func (s *Space) Run(t *Thread, p *Program) error {
	return s.tr.try(func() error { return s.run(t, p) })
}

func (s *Space) run(t *Thread, p *Program) error {
	if err := s.start(t, p); err != nil {
		return err
	}
	return s.finish(t)
}

// Start lets the stopped thread run the program.
func (s *Space) Start(t *Thread, p *Program) error {
	return s.tr.try(func() error { return s.start(t, p) })
}

func (s *Space) start(t *Thread, p *Program) error {
	if err := s.ready(t); err != nil {
		return err
	}
	sl, err := s.slotOf(t)
	if err != nil {
		return err
	}
	if sl.running != nil {
		return fmt.Errorf("task %d runs a program already", t.tid)
	}
	run, err := s.write(sl, p)
	if err != nil {
		return err
	}
	if err := s.direct(t, sl, run); err != nil {
		s.data.give(run.control, run.span)
		return err
	}
	sl.running = run
	return t.resume(0)
}

// write puts the program into the Space, and behind it those of the tasks that
// it makes, each with its control block. That of one that is born is zero.
func (s *Space) write(sl *slot, p *Program) (*running, error) {
	all, total := p.family(), 0
	if len(all) > 1 && !sl.traps(p) {
		return nil, fmt.Errorf("a program that does not end in a trap gives programs to the tasks that it makes")
	}
	for _, q := range all {
		q.size = q.Size()
		total += q.size
	}
	control, err := s.data.take(total)
	if err != nil {
		return nil, err
	}
	b, at := make([]byte, total), 0
	copy(b, s.control(sl, p))
	for _, q := range all {
		q.base = control + uint64(at+controlSize)
		at += q.size
	}
	for _, q := range all {
		if err == nil {
			err = q.encode(b[q.base-control:])
		}
	}
	if err == nil {
		_, err = s.mem.WriteAt(b, int64(control))
	}
	if err != nil {
		s.data.give(control, total)
		return nil, err
	}
	run := &running{p: p, control: control, size: p.size, span: p.size}
	if p.forks { // nobody else needs what is copied
		run.span = total
	}
	return run, nil
}

// direct puts the thread in front of its program.
func (s *Space) direct(t *Thread, sl *slot, run *running) error {
	if err := t.setRegs(s.entry(t, run)); err != nil {
		return err
	}
	if sl.traps(run.p) {
		return s.block(t, sl, allButTraps)
	}
	return s.block(t, sl, allSignals)
}

// block blocks signals of the thread, until it gets its own mask back.
func (s *Space) block(t *Thread, sl *slot, mask abi.SigSet) error {
	if sl.blocked == mask {
		return nil
	}
	sl.blocked = mask
	return t.setMask(mask)
}

// entry is the registers with which a thread starts to run programs. The
// stack stays its own: none is used, and a signal that comes when the tool
// is gone finds a good one.
func (s *Space) entry(t *Thread, run *running) abi.Regs {
	r := t.own.regs
	r.OrigRax = abi.NoSyscall
	r.Rip = s.text + s.tr.code.at[pieceRun]
	r.R12, r.R13 = run.addr(), run.control
	if s.home != nil && !s.home.booted {
		s.boot(&r)
	}
	return r
}

// slotOf finds or makes the thread's slot, and takes note of what is its own.
func (s *Space) slotOf(t *Thread) (*slot, error) {
	if sl := s.slots[t]; sl != nil {
		return sl, nil
	}
	sl := &slot{}
	var err error
	if s.home != nil {
		err = s.guest(t, sl)
	} else {
		t.own, err = t.context(false)
	}
	if err != nil {
		return nil, err
	}
	s.slots[t] = sl
	return sl, nil
}

// context is what the thread needs to go on as if nothing had been.
func (t *Thread) context(extended bool) (*context, error) {
	if t.kept != nil && (t.kept.xstate != nil || !extended) {
		c := *t.kept
		return &c, nil
	}
	var c context
	var err error
	if c.regs, err = t.getRegs(); err != nil {
		return nil, err
	}
	if c.fit, err = t.named(c.regs); err != nil {
		return nil, err
	}
	if c.mask, err = kernelio.PtraceGetSigmask(t.tid); err != nil {
		return nil, t.fail("reading the signal mask", err)
	}
	if extended {
		c.xstate, err = t.getXState()
	}
	return &c, err
}
