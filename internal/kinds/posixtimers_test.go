package kinds

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// treeOf is a dump of a tree of the given processes.
type treeOf struct {
	kind.Dump
	pids []kind.PID
}

func (d treeOf) InTree(p kind.PID) bool {
	for _, q := range d.pids {
		if p == q {
			return true
		}
	}
	return false
}

func timerAnswer(left, interval int64) plan.Result {
	return plan.Result{Out: [][]byte{abi.Itimerspec{Value: timespec(left), Interval: timespec(interval)}.Encode()}}
}

func TestPosixTimersPlan(t *testing.T) {
	site := sampleTask()
	if PosixTimers().Match(site) {
		t.Error("it matches a process without timers")
	}
	site.Proc = procText{"timers": "ID: 5\nsignal: 40/000000000000ff\nnotify: signal/tid.101\nClockID: 9\n" +
		"ID: 2\nsignal: 14/0\nnotify: signal/pid.100\nClockID: 1\n"}
	site.Threads[0].Shared = []abi.Siginfo{{Signo: 14, Code: abi.SITimer, TimerID: 2}}
	record, steps := through(t, PosixTimers(), site, timerAnswer(4e9, 10e9), timerAnswer(7, 0))
	sigev := func(value, signo, notify byte) string {
		b := make([]byte, 64)
		b[0], b[8], b[12] = value, signo, notify
		return showArg(plan.Buf(b))
	}
	golden(t, steps,
		`settle: !cap:wake_alarm prctl@task 7(77,1,0,0,0)`+
			` timer_create@task 7(1,`+sigev(0, 14, 0)+`,out[4])`+
			` timer_create@task 7(9,`+sigev(0xff, 40, 4)+`[16:4=pid(101)],out[4])`+
			` prctl@task 7(77,0,0,0,0)`,
		`arm: timer_settime@task 7(2,1,`+showArg(plan.Buf(abi.Itimerspec{Interval: timespec(10e9), Value: timespec(4e9)}.Encode()))+
			`[16:16=now(1)-6000000000],0)`+
			` timer_settime@task 7(5,0,`+showArg(plan.Buf(abi.Itimerspec{Value: timespec(7)}.Encode()))+`,0)`)

	old := stateHost(plan.Task)
	old.Kernel = "6.1.0-13-amd64"
	ops := PosixTimers().Plan(record, old)[0].Ops
	var names []string
	for _, op := range ops {
		names = append(names, abi.SyscallName(op.(plan.Call).Nr))
	}
	want := "timer_create timer_delete timer_create timer_delete timer_create timer_create timer_delete timer_create timer_delete timer_create"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("on an old kernel: %s", got)
	}
}

// TestPosixTimerCounting gives up where counting would take too long.
func TestPosixTimerCounting(t *testing.T) {
	r := posixTimersRecord{[]posixTimer{{ID: 1 << 20, Notify: abi.SigevNone}}}
	ops, needs := r.makeByCounting(stateHost(plan.Task))
	if len(ops) != 0 || len(needs) != 1 || needs[0].Demand != "kernel:6.16" {
		t.Errorf("an id out of reach: %d calls, needs %v", len(ops), needs)
	}
}

// TestPosixTimerFired lets a restored timer send the signal that was pending.
func TestPosixTimerFired(t *testing.T) {
	aside(t, func() {
		blockAll(t)
		r := posixTimersRecord{[]posixTimer{{ID: 4242, Clock: unix.CLOCK_MONOTONIC, Notify: abi.SigevThreadID, Signal: 46, Value: 5,
			Target: kind.PID(unix.Gettid()), Left: 2e9, Interval: 10e9, Fired: true}}}
		if err := performPlan(r.plan(stateHost(plan.Task))); err != nil {
			t.Error(err)
			return
		}
		got := takeSignals(t, abi.SigSetOf(46))
		if len(got) != 1 || got[0].TimerID != 4242 || got[0].Value != 5 || got[0].Overrun != 0 || got[0].Code != abi.SITimer {
			t.Errorf("took %+v", got)
		}
		left := call(t, unix.SYS_TIMER_GETTIME, plan.Int(4242), plan.Out(abi.SizeofItimerspec))
		if v := nanos(abi.DecodeItimerspec(left.Out[0]).Value); v > 2e9 || v < 1e9 {
			t.Errorf("%d ns left of 2 s", v)
		}
		call(t, unix.SYS_TIMER_DELETE, plan.Int(4242))
	})
}

func TestPosixTimersRefused(t *testing.T) {
	clocks := map[string]string{
		"-2":  "tell which", // CLOCK_THREAD_CPUTIME_ID of one of two threads
		"-29": "clock device",
		"-38": "process 4", // ~4<<3 | CPUCLOCK_SCHED
	}
	for clock, word := range clocks {
		site := sampleTask()
		site.Threads = append(site.Threads, site.Threads[0])
		site.Proc = procText{"timers": "ID: 0\nsignal: 14/0\nnotify: signal/pid.100\nClockID: " + clock + "\n"}
		_, err := PosixTimers().Dump(treeOf{}, site, []plan.Result{timerAnswer(0, 0)})
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("clock %s: %v", clock, err)
		}
	}
}

func TestPosixTimersCheck(t *testing.T) {
	one := func(tm posixTimer) posixTimersRecord { return posixTimersRecord{[]posixTimer{tm}} }
	checks(t, PosixTimers(),
		[]posixTimersRecord{{}, one(posixTimer{Signal: 14}), one(posixTimer{Notify: abi.SigevNone}),
			one(posixTimer{Notify: abi.SigevThreadID, Target: 5, Signal: 64, Fired: true})},
		map[string]posixTimersRecord{
			"negative id":       one(posixTimer{ID: -1, Signal: 14}),
			"twice":             {[]posixTimer{{Signal: 14}, {Signal: 14}}},
			"negative time":     one(posixTimer{Signal: 14, Left: -1}),
			"negative interval": one(posixTimer{Signal: 14, Interval: -1}),
			"no signal":         one(posixTimer{}),
			"signal 65":         one(posixTimer{Signal: 65}),
			"SIGEV_THREAD":      one(posixTimer{Signal: 14, Notify: abi.SigevThread}),
			"no target":         one(posixTimer{Signal: 14, Notify: abi.SigevThreadID}),
			"a CPU clock fired": one(posixTimer{Signal: 14, Clock: -6, Fired: true}),
		})
}
