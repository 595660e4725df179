package kinds

import (
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/plan"
)

// blockAll blocks every signal in this thread.
func blockAll(t *testing.T) {
	call(t, unix.SYS_RT_SIGPROCMASK, plan.Int(unix.SIG_SETMASK), plan.Buf(abi.SigSet(^uint64(0)).Encode()), plan.Int(0), plan.Int(8))
}

// takeSignals takes what is pending for this thread, in the order of delivery.
func takeSignals(t *testing.T, set abi.SigSet) []abi.Siginfo {
	var out []abi.Siginfo
	for {
		res, err := performOne(plan.Call{Nr: unix.SYS_RT_SIGTIMEDWAIT, Args: []plan.Arg{
			plan.Buf(set.Encode()), plan.Out(abi.SizeofSiginfo), plan.Buf(abi.Timespec{Nsec: 20e6}.Encode()), plan.Int(8)}})
		if err != nil {
			return out
		}
		s, err := abi.DecodeSiginfo(res.Out[0])
		if err != nil {
			t.Error(err)
		}
		out = append(out, s)
	}
}

// TestPendingQueued queues signals of each layout, kernel's ones among them,
// and takes them again.
func TestPendingQueued(t *testing.T) {
	aside(t, func() {
		blockAll(t)
		site := sampleThread()
		site.Leader = false
		site.Pending = []abi.Siginfo{
			{Signo: 5, Code: abi.SIKernel, PID: 0},
			{Signo: 10, Code: abi.SIUser, PID: 4000, UID: 12},
			{Signo: 11, Code: 1, Addr: 0xdead000},
			{Signo: 17, Code: 1, PID: 4001, UID: 13, Status: 7, Utime: 3, Stime: 4},
			{Signo: 31, Code: 1, Addr: 0x401000, Syscall: 39, Arch: 0xc000003e},
			{Signo: 45, Code: -1, PID: 4002, UID: 14, Value: 0x1234567890},
			{Signo: 45, Code: abi.SITimer, TimerID: 3, Overrun: 2, Value: 9},
			{Signo: 45, Code: -1, PID: 4003, Value: 1},
		}
		site.Status.SigPnd = abi.SigSetOf(5, 10, 11, 17, 31, 45, 12)
		lost := abi.Siginfo{Signo: 12} // its siginfo was dropped
		record, steps := through(t, Pending(), site)
		if n := len(record.(*pendingRecord).Private); n != 9 {
			t.Errorf("%d signals recorded", n)
		}
		if err := performPlan(steps); err != nil {
			t.Error(err)
			return
		}
		got := takeSignals(t, site.Status.SigPnd)
		// Synchronous signals come first, then the lowest numbers.
		p := site.Pending
		want := []abi.Siginfo{p[0], p[2], p[4], p[1], lost, p[3], p[5], p[6], p[7]}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("took\n%+v, queued\n%+v", got, want)
		}
	})
}

func TestPendingPlan(t *testing.T) {
	site := sampleThread()
	if Pending().Match(site) {
		t.Error("it matches a thread without pending signals")
	}
	site.Status.ShdPnd = abi.SigSetOf(10, 12)
	site.Shared = []abi.Siginfo{{Signo: 12, Code: abi.SIUser, PID: 101}, {Signo: 10, Code: abi.SIUser, PID: 5}}
	_, steps := through(t, Pending(), site)
	for _, op := range steps[0].Ops[2:] {
		op.(plan.Call).Args[2].Buf = nil
	}
	golden(t, steps, `creds: getpid@thread 7()->thread 7.202 gettid@thread 7()->thread 7.203`+
		` rt_sigqueueinfo@thread 7({thread 7.202},12,""[16:4=pid(101)]) rt_sigqueueinfo@thread 7({thread 7.202},10,"")`)

	site.Status.ShdPnd = abi.SigSetOf(int(unix.SIGKILL))
	refused(t, Pending(), site, "killed")
}

// TestPendingTimer leaves signals to the timers that can send them again.
func TestPendingTimer(t *testing.T) {
	site := sampleThread()
	site.Task.Proc = procText{"timers": "ID: 4\nsignal: 40/0\nnotify: signal/pid.100\nClockID: -6\n" +
		"ID: 3\nsignal: 40/0\nnotify: signal/pid.100\nClockID: 1\n"}
	site.Status.ShdPnd = abi.SigSetOf(40)
	site.Shared = []abi.Siginfo{{Signo: 40, Code: abi.SITimer, TimerID: 3}, {Signo: 40, Code: abi.SITimer, TimerID: 4},
		{Signo: 40, Code: abi.SITimer, TimerID: 77}}
	record, _ := through(t, Pending(), site)
	left := record.(*pendingRecord).Shared
	if len(left) != 2 || left[0].TimerID != 4 || left[1].TimerID != 77 {
		t.Errorf("recorded %+v", left)
	}
}

func TestPendingCheck(t *testing.T) {
	one := func(n uint8) []pendingSignal { return []pendingSignal{{Signal: n}} }
	checks(t, Pending(),
		[]pendingRecord{{Private: one(64)}, {Shared: one(1)}},
		map[string]pendingRecord{
			"SIGKILL":   {Private: one(9)},
			"SIGSTOP":   {Shared: one(19)},
			"signal 0":  {Shared: one(0)},
			"signal 65": {Private: one(65)},
			"too many":  {Private: make([]pendingSignal, maxPending+1)},
		})
}
