package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type timerSlackRecord struct {
	Nanoseconds uint64 `cbor:"1,keyasint,omitempty"` // 0: a real-time thread, which has none
}

// TimerSlack keeps how much later than asked for a thread may be woken
// (PR_SET_TIMERSLACK(2const)). The slack that it would go back to by
// setting 0 can't be read; it becomes rstr's own.
func TimerSlack() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, timerSlackRecord]{
		Name: "timerslack",
		At:   plan.Thread,
		Ask:  asks[*kind.ThreadSite](prctlAsk(unix.PR_GET_TIMERSLACK)),
		Dump: func(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (timerSlackRecord, error) {
			if err := answer(asked[0], "the timer slack"); err != nil {
				return timerSlackRecord{}, err
			}
			return timerSlackRecord{uint64(asked[0].Ret)}, nil
		},
		Plan: func(r timerSlackRecord, h *kind.Host) []plan.Step {
			if r.Nanoseconds == 0 {
				return nil
			}
			return oneStep(plan.Arm, fmt.Sprintf("set the timer slack to %d ns", r.Nanoseconds),
				prctlIn(h, unix.PR_SET_TIMERSLACK, plan.Int(r.Nanoseconds)))
		},
	})
}
