package inject

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Bequeath lets a stub go that is not for a tree to be made from, but for
// making calls when the tool dies before the commit: p, of which the errors
// stop nothing if it tolerates them. Its first file must be an end of a pipe of
// which the tool has the other one, and nobody else; the stub waits for that to
// be closed. It must have the barrier. The tool kills it when nothing is left to
// be done.
func (st *Stub) Bequeath(p *Program) error {
	return st.Thread.tr.try(func() error {
		if err := st.bequeath(p); err != nil {
			return fmt.Errorf("leaving calls to a stub: %w", err)
		}
		return nil
	})
}

func (st *Stub) bequeath(p *Program) error {
	s, t := st.Space, st.Thread
	sl, err := s.slotOf(t)
	if err != nil {
		return err
	}
	p.Call(unix.SYS_EXIT_GROUP, N(0))
	run, err := s.write(sl, p)
	if err != nil {
		return err
	}
	if err := s.direct(t, sl, run); err != nil {
		return err
	}
	r := s.entry(t, run)
	r.R8, r.R9, r.R14 = r.Rip, 0, s.barrier
	r.Rip = s.text + s.tr.code.at[pieceHeir]
	if err := t.setRegs(r); err != nil {
		return err
	}
	t.own = nil // what it has is what it is to go on with
	defer s.mem.Close()
	return t.Detach(0)
}
