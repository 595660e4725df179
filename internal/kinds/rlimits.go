package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// rlimit is a soft and a hard limit; 2^64-1 is no limit.
type rlimit struct {
	Cur uint64 `cbor:"1,keyasint"`
	Max uint64 `cbor:"2,keyasint"`
}

type rlimitsRecord struct {
	Limits [abi.RlimitCount]rlimit `cbor:"1,keyasint"` // by RLIMIT_*
}

// limitNames are the names of the RLIMIT_* constants, by number, as demands
// name them.
var limitNames = [abi.RlimitCount]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// RLimits keeps a process's resource limits (getrlimit(2)). Limits that are
// higher than those the process is born with are raised before anything is
// made, since the program may have what the lower ones forbid; those that are
// lower are lowered when everything is there. The CPU time that counts
// against RLIMIT_CPU begins anew.
func RLimits() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, rlimitsRecord]{
		Name:  "rlimits",
		At:    plan.Task,
		Dump:  dumpRLimits,
		Check: rlimitsRecord.check,
		Plan:  rlimitsRecord.plan,
	})
}

func dumpRLimits(_ kind.Dump, t *kind.TaskSite, _ []plan.Result) (r rlimitsRecord, err error) {
	text, err := t.Proc.Read("limits")
	if err != nil {
		return r, err
	}
	limits, err := abi.ParseLimits(text)
	for n, l := range limits {
		r.Limits[n] = rlimit(l)
	}
	return r, err
}

func (r rlimitsRecord) check() error {
	for n, l := range r.Limits {
		if l.Cur > l.Max {
			return fmt.Errorf("the soft limit %s is above the hard one", limitNames[n])
		}
	}
	return nil
}

func (r rlimitsRecord) plan(h *kind.Host) []plan.Step {
	raise := plan.Step{Stage: plan.Create, Text: "raise resource limits"}
	final := plan.Step{Stage: plan.Seal, Text: "set resource limits"}
	for n, want := range r.Limits {
		born := rlimit(h.Caller.Born.Limits[n])
		high := rlimit{max(want.Cur, born.Cur), max(want.Max, born.Max)}
		if high != born {
			raise.Ops = append(raise.Ops, high.set(h, n))
		}
		if want != high {
			final.Ops = append(final.Ops, want.set(h, n))
		}
		if most := h.Caller.Limits[n].Max; want.Max > most {
			raise.Needs = append(raise.Needs, plan.Need{Demand: "rlimit:" + limitNames[n],
				Why: fmt.Sprintf("its hard limit is %s, the caller's %s", limitText(want.Max), limitText(most))})
		}
	}
	var steps []plan.Step
	for _, s := range []plan.Step{raise, final} {
		if len(s.Ops)+len(s.Needs) > 0 {
			steps = append(steps, s)
		}
	}
	return steps
}

func (l rlimit) set(h *kind.Host, n int) plan.Op {
	return inTask(h, unix.SYS_PRLIMIT64, plan.Int(0), plan.Int(n), plan.Buf(abi.Rlimit(l).Encode()), plan.Int(0))
}

func limitText(v uint64) string {
	if v == abi.RlimInfinity {
		return "unlimited"
	}
	return fmt.Sprint(v)
}
