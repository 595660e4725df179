package restore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// makerOf is the process that makes a call in the tool's place
// (plan.Call.Maker), if any. It must have the credentials that it is to have
// already: none has in an elevated restore.
func (s *session) makerOf(c plan.Call) *body {
	if c.Maker == 0 || s.opts.Elevated {
		return nil
	}
	for _, b := range s.bodies {
		if b.node.PID != kind.PID(c.Maker) {
			continue
		}
		if s.another(b.node.Ref()) {
			return nil
		}
		return b
	}
	return nil
}

// fetch has a process make descriptors, which the tool takes from it.
func (s *session) fetch(b *body, c plan.Call) (plan.Result, error) {
	p := newProgram(s, b)
	if err := p.Add(c, nil); err != nil {
		return plan.Result{}, err
	}
	if err := b.failed(b.space.Run(b.leader, p.Inject)); err != nil {
		return plan.Result{}, err
	}
	pidfd, err := kernelio.PidfdOpen(b.leader.PID())
	if err != nil {
		return plan.Result{}, err
	}
	defer pidfd.Close()
	r := p.Results()[0]
	var closes []plan.Call
	for _, at := range numbersIn(c, r) {
		num := int(int32(binary.LittleEndian.Uint32(at)))
		fd, err := kernelio.PidfdGetfd(pidfd, num)
		if err != nil {
			return r, fmt.Errorf("taking it from process %d: %w", b.node.PID, err)
		}
		binary.LittleEndian.PutUint32(at, uint32(fd.Take()))
		closes = append(closes, closeCall(num))
	}
	return r, s.run(b, closes...)
}

// numbersIn are the places of a result that hold descriptors (plan.FDs).
func numbersIn(c plan.Call, r plan.Result) (at [][]byte) {
	out := 0
	for _, a := range c.Args {
		if a.Kind != plan.ArgOut {
			continue
		}
		for _, off := range a.Made {
			at = append(at, r.Out[out][off:off+4])
		}
		out++
	}
	return at
}

// remembers lists calls whose objects keep the credentials of whoever made
// them, for others to ask for (SO_PEERCRED in unix(7)).
func remembers(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && (c.Nr == unix.SYS_SOCKET || c.Nr == unix.SYS_SOCKETPAIR || c.Nr == unix.SYS_LISTEN)
}

// maker is the process that is to have made an object of a step, if that is
// to be somebody else than who does it.
func (s *session) maker(st *step) (plan.Ref, bool) {
	for i := range s.tree.Tasks {
		t := &s.tree.Tasks[i]
		table := s.tables[t.FDTable]
		if table == nil || !slices.ContainsFunc(table.FDs, func(fd kind.FDNode) bool { return fd.File.Main() == st.ref }) {
			continue
		}
		return t.Ref(), s.another(t.Ref())
	}
	return plan.Ref{}, false
}

// another says whether a process is to have other ids than those with which
// rstr makes objects.
func (s *session) another(task plan.Ref) bool {
	c, ok := s.worn(task)
	me := &s.opts.Caller.Born.Creds
	if s.opts.Elevated {
		me = &s.opts.Caller.Creds
	}
	return ok && (c.UID != me.UID || c.GID != me.GID)
}
