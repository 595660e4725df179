package restore

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
)

func TestKnowsTraps(t *testing.T) {
	action := func(sig unix.Signal, handler byte) plan.Call {
		b := make([]byte, 32)
		b[0] = handler
		return plan.Call{Nr: unix.SYS_RT_SIGACTION, Args: []plan.Arg{plan.Int(int(sig)), plan.Buf(b), plan.Int(0), plan.Int(8)}}
	}
	timer := func(sig unix.Signal) plan.Call {
		b := make([]byte, 64)
		b[8] = byte(sig)
		return plan.Call{Nr: unix.SYS_TIMER_CREATE, Args: []plan.Arg{plan.Int(0), plan.Buf(b), plan.Out(4)}}
	}
	queue := func(sig unix.Signal) plan.Call {
		return plan.Call{Nr: unix.SYS_RT_SIGQUEUEINFO, Args: []plan.Arg{plan.PID(7), plan.Int(int(sig)), plan.Buf(make([]byte, 128))}}
	}
	for name, x := range map[string]struct {
		call plan.Call
		want bool
	}{
		"it ignores traps":           {action(unix.SIGTRAP, 1), true},
		"it handles traps":           {action(unix.SIGTRAP, 2), false},
		"it ignores hangups":         {action(unix.SIGHUP, 1), false},
		"a trap is pending":          {queue(unix.SIGTRAP), true},
		"a signal is pending":        {queue(unix.SIGUSR1), false},
		"a timer sends traps":        {timer(unix.SIGTRAP), true},
		"a timer sends alarms":       {timer(unix.SIGALRM), false},
		"a call about number 5":      {plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.Int(5)}}, false},
		"it gets a trap for a death": {plan.Call{Nr: unix.SYS_PRCTL, Args: []plan.Arg{plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(5)}}, true},
	} {
		if got := knowsTraps(step{Step: plan.Step{Ops: []plan.Op{x.call}}}); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
