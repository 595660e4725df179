package restore

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
)

// opensUp says whether an operation opens a process to others: it becomes
// dumpable.
func opensUp(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && c.Nr == unix.SYS_PRCTL && len(c.Args) > 1 && c.Args[0].Val == unix.PR_SET_DUMPABLE && c.Args[1].Val != 0
}

// seal does the last steps: those that open a process to others after all
// that share its memory are sealed.
func (s *session) seal() error {
	var open, rest []*progress
	for _, p := range progressOf(s.at(plan.Seal)) {
		if slices.ContainsFunc(p.step.Ops, opensUp) {
			open = append(open, p)
		} else {
			rest = append(rest, p)
		}
	}
	if err := s.carry(rest); err != nil {
		return err
	}
	return s.carry(open)
}
