package restore

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// plan lets every kind say how its records are made again, and sorts the
// steps by stage; inside a stage the order of the records stays.
func (c *content) plan(h kind.Host) []step {
	h.InTree = func(pid kind.PID) bool { return c.byPID[pid] }
	plans := make([][]plan.Step, len(c.records))
	inBatches(len(plans), batch, func(from, to int) {
		h := h
		for i := from; i < to; i++ {
			r := &c.records[i]
			h.Self, h.Within = r.ref, c.within(r.ref)
			plans[i] = r.kind.Plan(r.body, &h)
		}
	})
	var next [plan.Commit + 2]int // by stage, the place of its next step
	for _, p := range plans {
		for i := range p {
			next[p[i].Stage+1]++
		}
	}
	for stage := range next[1:] {
		next[stage+1] += next[stage]
	}
	out := make([]step, next[plan.Commit+1])
	for i, p := range plans {
		r := &c.records[i]
		for _, st := range p {
			out[next[st.Stage]] = step{Step: st, ref: r.ref, kind: r.kind.Name(), of: c}
			next[st.Stage]++
		}
	}
	return out
}

// within is the object that contains another.
func (c *content) within(r plan.Ref) plan.Ref {
	switch r.Site {
	case plan.Mapping:
		return plan.Ref{Site: plan.MM, ID: c.mmOf[r.ID]}
	case plan.Thread:
		return plan.Ref{Site: plan.Task, ID: c.taskOf[r.ID]}
	}
	return plan.Ref{}
}

// at lists the steps of one stage.
func (s *session) at(stage plan.Stage) []step {
	i := slices.IndexFunc(s.steps, func(x step) bool { return x.Stage == stage })
	if i < 0 {
		return nil
	}
	j := i
	for j < len(s.steps) && s.steps[j].Stage == stage {
		j++
	}
	return s.steps[i:j]
}

// StepError is a step that failed: what was to be done, for which object.
type StepError struct {
	Object string
	Text   string
	Err    error
}

func (e *StepError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Object, e.Text, e.Err) }

func (e *StepError) Unwrap() error { return e.Err }

// name is how messages speak of the step's object.
func (st *step) name() string { return st.of.nameOf(st.ref) }

func (st *step) failed(err error) error {
	return &StepError{Object: st.name(), Text: st.Text, Err: err}
}
