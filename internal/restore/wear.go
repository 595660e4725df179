package restore

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// worn are the credentials that a thread, or the first one of a process, is to
// have in the end.
func (s *session) worn(r plan.Ref) (kind.Creds, bool) {
	if r.Site == plan.Task && s.tasks[r.ID] != nil && len(s.tasks[r.ID].Threads) > 0 {
		r = s.tasks[r.ID].Threads[0].Ref()
	}
	if s.wearing == nil {
		s.wearing = map[plan.Ref]kind.Creds{}
		for i := range s.records {
			if w, ok := s.records[i].body.(kind.Wears); ok {
				s.wearing[s.records[i].ref] = w.Wears()
			}
		}
	}
	c, ok := s.wearing[r]
	return c, ok
}

// wear runs f on a thread with the final credentials of one of the tree's.
func (s *session) wear(r plan.Ref, f func() error) error {
	c, ok := s.worn(r)
	if !ok {
		return fmt.Errorf("it must be done as %s, whose credentials nothing tells", s.nameOf(r))
	}
	name := fmt.Sprintf("%+v", c)
	if s.hands[name] == nil {
		h, err := kernelio.NewHand(credentials(&c))
		if err != nil {
			return err
		}
		if s.hands == nil {
			s.hands = map[string]*kernelio.Hand{}
		}
		s.hands[name] = h
	}
	return s.hands[name].Do(f)
}

func (s *session) closeHands() {
	for _, h := range s.hands {
		h.Close()
	}
	s.hands = nil
}

// checkCreds asks /proc whether every thread has become what its record says,
// if any had to become anything.
func (s *session) checkCreds() error {
	if len(s.at(plan.Creds)) == 0 && !s.opts.Elevated {
		return nil
	}
	for i := range s.records {
		r := &s.records[i]
		if w, ok := r.body.(kind.Wears); ok && r.ref.Site == plan.Thread {
			if err := s.checkOne(r.ref, w.Wears()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) checkOne(r plan.Ref, want kind.Creds) error {
	b, th, err := s.actor(r)
	if err != nil {
		return err
	}
	dir, err := kernelio.OpenProc(b.leader.PID())
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.ThreadStatus(th.TID())
	if err != nil {
		return err
	}
	is := kind.CredsOf(st)
	is.Securebits = want.Securebits // which /proc does not show
	if err := s.asShown(&want); err != nil {
		return err
	}
	if !is.Equal(want) {
		return fmt.Errorf("thread %d has the credentials %+v, and not %+v", th.TID(), is, want)
	}
	return nil
}

// asShown puts what /proc shows here of the caller's groups in their place: a
// user namespace of hers has no numbers for most of them, and shows nobody's.
func (s *session) asShown(c *kind.Creds) error {
	if s.opts.Elevated || !slices.Equal(c.Groups, s.opts.Caller.Groups) {
		return nil
	}
	mine, err := kernelio.ThreadCredentials()
	if err != nil {
		return err
	}
	c.Groups = nil
	for _, g := range mine.Groups {
		c.Groups = append(c.Groups, credmap.GID(g))
	}
	return nil
}
