package inject

import (
	"encoding/binary"
	"fmt"
)

// A record, as run in interp_amd64.s reads it: nr and flags of 4 bytes, six
// arguments and the result of 8.
const (
	recordSize = 64
	recFlags   = 4
	recArgs    = 8
	recRet     = 56
)

// Flags of a record: bit 0 makes a call stop at an error, bit 1 says that the
// task which it makes goes on at the record of argument 2 with the control block
// of argument 3; the next byte says what else than a call the record is.
const (
	flagStop     = 1
	flagBorn     = 2
	kindEnd      = 1 << 8
	kindMove8    = 2 << 8 // *arg0 to *arg1
	kindMove4    = 3 << 8
	kindEqual    = 4 << 8 // *arg0 is arg1, or stop
	kindTolerate = 5 << 8 // *arg0 is no error, or one of arg1..5, or stop
	kindSpin     = 6 << 8 // up to arg1 brief threads, until one has the number arg0
)

// align is the alignment of buffers; that of the widest kernel object.
const align = 64

// records is how many records the call takes.
func (c *call) records() int {
	n := 1 + len(c.stores)
	for _, a := range c.args {
		if a.kind == argResult {
			n++
		}
	}
	if c.exact {
		n++
	}
	if c.lenient && len(c.tolerate) > 0 {
		n++
	}
	return n
}

// layout assigns places: records, then buffers. It returns the size.
func (p *Program) layout() int {
	n := 0
	p.recOf = make([]int, len(p.calls))
	for i := range p.calls {
		c := &p.calls[i]
		p.recOf[i] = n + c.moves()
		n += c.records()
	}
	at := (n + 1) * recordSize
	for i := range p.bufs {
		p.bufs[i].at = at
		at = (at + p.bufs[i].size + align - 1) &^ (align - 1)
	}
	return at
}

// moves is how many records go before the call itself.
func (c *call) moves() int {
	n := 0
	for _, a := range c.args {
		if a.kind == argResult {
			n++
		}
	}
	return n
}

// encode writes the program into b as it must lie at its base. The length of b
// is that of layout, or more.
func (p *Program) encode(b []byte) error {
	if p.badArgs != nil {
		return p.badArgs
	}
	if p.ran {
		return fmt.Errorf("the program ran before")
	}
	p.ran = true
	e := encoder{p: p, b: b}
	for i := range p.calls {
		if err := e.call(i); err != nil {
			return fmt.Errorf("call %d, system call %d: %w", i, p.calls[i].nr, err)
		}
	}
	e.record(0, kindEnd)
	for i := range p.bufs {
		if err := e.buffer(&p.bufs[i]); err != nil {
			return fmt.Errorf("buffer %d: %w", i, err)
		}
	}
	return nil
}

type encoder struct {
	p *Program
	b []byte
	n int // records so far
}

func (e *encoder) record(nr uint32, flags uint32, args ...uint64) {
	b := e.b[e.n*recordSize:]
	binary.LittleEndian.PutUint32(b, nr)
	binary.LittleEndian.PutUint32(b[recFlags:], flags)
	for i, a := range args {
		binary.LittleEndian.PutUint64(b[recArgs+8*i:], a)
	}
	e.n++
}

func (e *encoder) call(i int) error {
	c := &e.p.calls[i]
	self := e.p.recOf[i]
	var args [6]uint64
	for k, a := range c.args {
		v, err := e.arg(a, i)
		if err != nil {
			return err
		}
		if a.kind == argResult {
			e.record(0, kindMove8, v, e.addr(self*recordSize+recArgs+8*k))
			continue
		}
		args[k] = v
	}
	flags := uint32(flagStop)
	if c.lenient {
		flags = 0
	}
	if c.spin {
		flags = kindSpin
	}
	if b := c.born; b != nil {
		flags |= flagBorn
		args[2], args[3] = b.base, b.base-controlSize
	}
	e.record(uint32(c.nr), flags, args[:]...)
	return e.after(c, e.addr(self*recordSize+recRet))
}

// after appends what is done with the result, which lies at ret.
func (e *encoder) after(c *call, ret uint64) error {
	if c.lenient && len(c.tolerate) > 0 {
		e.tolerate(c, ret)
	}
	if c.exact {
		e.record(0, kindEqual, ret, c.want)
	}
	for _, s := range c.stores {
		to, err := e.place(s.ref, s.off, s.width)
		if err != nil {
			return err
		}
		switch s.width {
		case 8:
			e.record(0, kindMove8, ret, to)
		case 4:
			e.record(0, kindMove4, ret, to)
		default:
			return fmt.Errorf("storing %d bytes; only 4 or 8", s.width)
		}
	}
	return nil
}

// tolerate fills unused places with the first error.
func (e *encoder) tolerate(c *call, ret uint64) {
	args := [6]uint64{ret}
	for k := 1; k < len(args); k++ {
		errno := c.tolerate[0]
		if k <= len(c.tolerate) {
			errno = c.tolerate[k-1]
		}
		args[k] = -uint64(errno)
	}
	e.record(0, kindTolerate, args[:]...)
}

// arg is the value of an argument of call i, or the address of the result.
func (e *encoder) arg(a Arg, i int) (uint64, error) {
	switch a.kind {
	case argPointer:
		return e.place(Ref(a.of), int(a.value), 0)
	case argResult:
		if a.of >= i {
			return 0, fmt.Errorf("uses the result of call %d, which is not before it", a.of)
		}
		return e.addr(e.p.recOf[a.of]*recordSize + recRet), nil
	}
	return a.value, nil
}

// place is the address of width bytes at off in a buffer.
func (e *encoder) place(r Ref, off, width int) (uint64, error) {
	b := &e.p.bufs[r]
	if off < 0 || off+width > b.size {
		return 0, fmt.Errorf("bytes %d to %d are outside buffer %d of %d bytes", off, off+width, r, b.size)
	}
	return e.addr(b.at + off), nil
}

func (e *encoder) addr(off int) uint64 { return e.p.base + uint64(off) }

func (e *encoder) buffer(b *buffer) error {
	copy(e.b[b.at:], b.data)
	for _, l := range b.links {
		to, err := e.place(l.to, l.toAt, 0)
		if err != nil {
			return err
		}
		if l.off < 0 || l.off+8 > b.size {
			return fmt.Errorf("a pointer at %d is outside its %d bytes", l.off, b.size)
		}
		binary.LittleEndian.PutUint64(e.b[b.at+l.off:], to)
	}
	return nil
}
