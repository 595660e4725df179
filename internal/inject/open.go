package inject

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Opening is a Space that is to be made, and what came of it.
type Opening struct {
	// Thread makes it: a stopped one, as all of its process must be.
	Thread *Thread
	// Size is the room for data, in bytes. Untouched room costs nothing.
	Size uint64
	// VMAs are the mappings of the process, if they are known.
	VMAs []abi.VMA

	Space *Space
	Err   error
}

// Open makes a Space of size bytes for data in the process of the stopped
// thread t, all of whose threads must be stopped. Close it before t is
// detached.
func Open(t *Thread, size uint64) (*Space, error) {
	o := &Opening{Thread: t, Size: size}
	t.tr.OpenAll([]*Opening{o})
	return o.Space, o.Err
}

// OpenAll is Open for many processes at the same time.
func (tr *Tracer) OpenAll(all []*Opening) {
	tr.Do(func() {
		var maps []*step
		for _, o := range all {
			st := &step{thread: o.Thread}
			o.Space = &Space{tr: tr, slots: map[*Thread]*slot{}}
			if st.regs, o.Err = o.Space.open(o); o.Err == nil {
				maps = append(maps, st)
			}
		}
		stepAll(maps)
		for _, o := range all {
			if o.Err == nil {
				o.Err = o.Space.opened(maps[0])
				maps = maps[1:]
			}
			if o.Err != nil {
				o.Err = fmt.Errorf("running calls in process %d: %w", o.Thread.PID(), o.Err)
				o.Space = nil
			}
		}
	})
}

// open makes everything ready for the call that maps the Space, and returns
// the registers for it.
func (s *Space) open(o *Opening) (r abi.Regs, err error) {
	if err := o.Thread.CanInject(); err != nil {
		return r, err
	}
	if s.mem, err = kernelio.OpenTraceeMem(o.Thread.tid); err != nil {
		return r, err
	}
	if err = s.openIn(o); err != nil {
		o.Thread.own = nil
		s.mem.Close()
		return r, err
	}
	return s.mapping(), nil
}

func (s *Space) openIn(o *Opening) (err error) {
	t := o.Thread
	vmas := o.VMAs
	if vmas == nil {
		if vmas, err = readMaps(t.tid); err != nil {
			return err
		}
	}
	size := (o.Size + 2*pageSize - 1) &^ (pageSize - 1)
	if s.lo, err = hole(vmas, pageSize+size); err != nil {
		return err
	}
	s.text, s.hi = s.lo, s.lo+pageSize+size
	s.data = newHeap(s.lo+pageSize, s.hi)
	own, err := t.context(true)
	if err != nil {
		return err
	}
	if err := s.leaveCritical(t, own); err != nil {
		return err
	}
	t.own = own
	s.home = &home{thread: t, sees: t.seesTool()}
	return s.prepare(vmas)
}

// mapping is the registers for the call that maps the Space.
func (s *Space) mapping() abi.Regs {
	r := s.home.call(unix.SYS_MMAP, s.lo, s.hi-s.lo, unix.PROT_READ|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE|unix.MAP_NORESERVE, ^uint64(0), 0)
	r.Rsp = s.wayOut(r)
	return r
}

// opened is what follows that call. If the Space cannot be had, everything is
// put back.
func (s *Space) opened(made *step) error {
	t, err, back := s.home.thread, made.err, error(nil)
	if err == nil && made.ret != s.lo {
		err = fmt.Errorf("mapping %d bytes in the target: %w", s.hi-s.lo, os.NewSyscallError("mmap", unix.Errno(-made.ret)))
	}
	if err != nil {
		back = s.restore(t)
	} else if _, err = s.mem.WriteAt(s.page(), int64(s.text)); err != nil {
		back = s.close()
	}
	if err == nil {
		return nil
	}
	t.own = nil
	s.mem.Close()
	if back != nil {
		return fmt.Errorf("%w; and putting it back: %w", err, back)
	}
	return err
}

// Close puts everything back as it was. The thread of Open and all others
// that ran programs are stopped as before; those that have ended meanwhile are
// passed over.
func (s *Space) Close() error { return s.tr.CloseAll([]*Space{s}) }

// CloseAll closes many Spaces at the same time.
func (tr *Tracer) CloseAll(spaces []*Space) error {
	return tr.try(func() error {
		var all error
		var unmaps []*step
		var unmapped []*Space
		for _, s := range spaces {
			all = errors.Join(all, s.dismiss())
			if s.home != nil && s.home.thread.own != nil { // or else it healed: nothing is left to put back
				unmaps = append(unmaps, &step{thread: s.home.thread, regs: s.unmapping()})
				unmapped = append(unmapped, s)
			}
		}
		stepAll(unmaps)
		for i, s := range unmapped {
			all = errors.Join(all, alive(s.closed(unmaps[i])))
		}
		for _, s := range spaces {
			s.mem.Close()
		}
		return all
	})
}

// dismiss gives all threads but the home thread their own state back.
func (s *Space) dismiss() (all error) {
	for t := range s.slots {
		if t.own != nil && (s.home == nil || t != s.home.thread) {
			all = errors.Join(all, alive(s.restore(t)))
		}
	}
	return all
}

// alive drops the error that a thread has ended.
func alive(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// close unmaps the Space by its home thread.
func (s *Space) close() error {
	st := &step{thread: s.home.thread, regs: s.unmapping()}
	stepAll([]*step{st})
	return s.closed(st)
}

// closed is what follows the last call of the home thread.
func (s *Space) closed(made *step) error {
	t, err := s.home.thread, made.err
	if err == nil && made.ret != 0 {
		err = os.NewSyscallError("munmap", unix.Errno(-made.ret))
	}
	if err != nil {
		return fmt.Errorf("taking the space of process %d away: %w", t.PID(), err)
	}
	return s.restore(t)
}

// restore gives the thread its own state back, the mask first: until its
// registers are its own, it would heal.
func (s *Space) restore(t *Thread) error {
	if err := t.setMask(t.own.mask); err != nil {
		return err
	}
	if err := t.setRegs(t.own.regs); err != nil {
		return err
	}
	t.own, t.kept = nil, t.own
	delete(s.slots, t)
	if h := s.home; h != nil && t == h.thread && h.before != nil {
		_, err := s.mem.WriteAt(h.before, int64(h.scratch))
		return err
	}
	return nil
}
