package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// itimer is one interval timer, in microseconds.
type itimer struct {
	Left     int64 `cbor:"1,keyasint,omitempty"`
	Interval int64 `cbor:"2,keyasint,omitempty"`
}

type itimersRecord struct {
	Timers [3]itimer `cbor:"1,keyasint"` // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
}

// ITimers keeps the three interval timers of a process (getitimer(2)), with
// alarm(2), which is the first of them.
func ITimers() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, itimersRecord]{
		Name:  "itimers",
		At:    plan.Task,
		Ask:   asks[*kind.TaskSite](askITimers()...),
		Dump:  dumpITimers,
		Check: itimersRecord.check,
		Plan:  itimersRecord.plan,
	})
}

func askITimers() []plan.Call {
	var out []plan.Call
	for which := range 3 {
		out = append(out, plan.Call{Nr: unix.SYS_GETITIMER, Args: []plan.Arg{plan.Int(which), plan.Out(abi.SizeofItimerval)}})
	}
	return out
}

func dumpITimers(_ kind.Dump, _ *kind.TaskSite, asked []plan.Result) (r itimersRecord, err error) {
	for which := range r.Timers {
		if err := answer(asked[which], "an interval timer"); err != nil {
			return r, err
		}
		v := abi.DecodeItimerval(asked[which].Out[0])
		r.Timers[which] = itimer{micros(v.Value), micros(v.Interval)}
	}
	return r, nil
}

func micros(t abi.Timeval) int64 { return t.Sec*1e6 + t.Usec }

func asTimeval(us int64) abi.Timeval { return abi.Timeval{Sec: us / 1e6, Usec: us % 1e6} }

func (r itimersRecord) check() error {
	for _, t := range r.Timers {
		if t.Left < 0 || t.Interval < 0 {
			return errors.New("negative times")
		}
	}
	return nil
}

func (r itimersRecord) plan(h *kind.Host) []plan.Step {
	var ops []plan.Op
	for which, t := range r.Timers {
		if t == (itimer{}) {
			continue
		}
		if which == int(unix.ITIMER_REAL) && t.Left == 0 {
			// It expired, and the next interval begins when SIGALRM is taken
			// (dequeue_signal). The interval alone can't be set, so let it
			// expire again: the two signals become one.
			t.Left = 1
		}
		v := abi.Itimerval{Interval: asTimeval(t.Interval), Value: asTimeval(t.Left)}
		ops = append(ops, inTask(h, unix.SYS_SETITIMER, plan.Int(which), plan.Buf(v.Encode()), plan.Int(0)))
	}
	return oneStep(plan.Arm, fmt.Sprintf("arm %d interval timers", len(ops)), ops...)
}
