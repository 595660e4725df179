package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// inTask is a call that the object itself executes: the thread, or the task
// that stands for it.
func inTask(h *kind.Host, nr uintptr, args ...plan.Arg) plan.Call {
	return plan.Call{In: h.Self, Nr: nr, Args: args}
}

// prctlIn is a prctl(2) in the object with the unused arguments 0, as many of
// its operations insist.
func prctlIn(h *kind.Host, op int, args ...plan.Arg) plan.Call {
	return inTask(h, unix.SYS_PRCTL, prctlArgs(op, args)...)
}

// prctlAsk is a prctl(2) that only the target can answer.
func prctlAsk(op int, args ...plan.Arg) plan.Call {
	return plan.Call{Nr: unix.SYS_PRCTL, Args: prctlArgs(op, args)}
}

// asks is an Ask that has the same questions for every object. The calls are
// made once; nobody writes to them.
func asks[S any](calls ...plan.Call) func(S) []plan.Call {
	return func(S) []plan.Call { return calls }
}

func prctlArgs(op int, args []plan.Arg) []plan.Arg {
	all := append([]plan.Arg{plan.Int(op)}, args...)
	for len(all) < 5 {
		all = append(all, plan.Int(0))
	}
	return all
}

// oneStep is a plan of a single step, or of none if there is nothing to do.
func oneStep(stage plan.Stage, text string, ops ...plan.Op) []plan.Step {
	if len(ops) == 0 {
		return nil
	}
	return []plan.Step{{Stage: stage, Text: text, Ops: ops}}
}

// asOps makes calls into operations.
func asOps(calls []plan.Call) []plan.Op {
	ops := make([]plan.Op, len(calls))
	for i, c := range calls {
		ops[i] = c
	}
	return ops
}

// answer is the error of a call that was asked of the target.
func answer(r plan.Result, what string) error {
	if r.Ret < 0 {
		return fmt.Errorf("asking for %s: %w", what, unix.Errno(-r.Ret))
	}
	return nil
}
