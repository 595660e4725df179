package kinds

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// The tests of this file change what a process has only once. Each runs its
// parts in processes of its own: this test binary again, with the name of the
// part in the environment.
const (
	partVariable = "KINDS_TEST_PART"
	partRecord   = "KINDS_TEST_RECORD" // restore this one; empty: dump
)

// processPart is one such process.
type processPart struct {
	kind   func() kind.Kind
	change func(t *testing.T) // what is done to it before it is dumped
}

func processParts() map[string]processPart {
	return map[string]processPart{
		"itimers": {ITimers, changeITimers},
		"subreaper": {Subreaper, func(t *testing.T) {
			call(t, unix.SYS_PRCTL, prctlArgs(unix.PR_SET_CHILD_SUBREAPER, []plan.Arg{plan.Int(1)})...)
		}},
		"dumpable": {Dumpable, func(t *testing.T) {
			call(t, unix.SYS_PRCTL, prctlArgs(unix.PR_SET_DUMPABLE, []plan.Arg{plan.Int(0)})...)
		}},
		"oom":       {OOM, func(t *testing.T) { writeSelf(t, "oom_score_adj", "321") }},
		"autogroup": {Autogroup, func(t *testing.T) { writeSelf(t, "autogroup", "7") }},
		"rlimits": {RLimits, func(t *testing.T) {
			call(t, unix.SYS_PRLIMIT64, plan.Int(0), plan.Int(unix.RLIMIT_CORE), plan.Buf(abi.Rlimit{Cur: 4096, Max: 8192}.Encode()), plan.Int(0))
			call(t, unix.SYS_PRLIMIT64, plan.Int(0), plan.Int(unix.RLIMIT_NOFILE), plan.Buf(abi.Rlimit{Cur: 77, Max: 777}.Encode()), plan.Int(0))
		}},
		"sigactions": {SigActions, func(t *testing.T) {
			act := sigAction{Handler: abi.SigIgn, Flags: abi.SaRestart, Mask: 4}
			call(t, unix.SYS_RT_SIGACTION, plan.Int(40), plan.Buf(act.encode()), plan.Int(0), plan.Int(8))
		}},
		"posixtimers": {PosixTimers, changePosixTimers},
		"timers by counting": {PosixTimers, func(t *testing.T) {
			h := stateHost(plan.Task)
			h.Kernel = "6.1.0"
			makeTimers(t, h, posixTimer{ID: 1, Clock: unix.CLOCK_BOOTTIME, Signal: 34}, posixTimer{ID: 5, Notify: abi.SigevNone})
		}},
	}
}

func changeITimers(t *testing.T) {
	for which, v := range []abi.Itimerval{
		{Value: abi.Timeval{Sec: 5000}, Interval: abi.Timeval{Sec: 7, Usec: 8}},
		{Value: abi.Timeval{Sec: 6000}},
	} {
		call(t, unix.SYS_SETITIMER, plan.Int(which), plan.Buf(v.Encode()), plan.Int(0))
	}
}

func changePosixTimers(t *testing.T) {
	makeTimers(t, stateHost(plan.Task),
		posixTimer{ID: 3, Clock: unix.CLOCK_MONOTONIC, Signal: 34, Value: 0x1234567890, Left: 5000e9, Interval: 3e9},
		posixTimer{ID: 5, Clock: unix.CLOCK_REALTIME, Notify: abi.SigevNone},
		posixTimer{ID: 1000000, Clock: unix.CLOCK_PROCESS_CPUTIME_ID, Signal: 10, Left: 6000e9})
}

// makeTimers makes timers in the way that suits the host's kernel, and looks
// for them.
func makeTimers(t *testing.T, h *kind.Host, timers ...posixTimer) {
	if err := performPlan(posixTimersRecord{timers}.plan(h)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/timers")
	if err != nil {
		t.Fatal(err)
	}
	for _, tm := range timers {
		if want := fmt.Sprintf("ID: %d\nsignal: %d/", tm.ID, tm.Signal); !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func writeSelf(t *testing.T, name, text string) {
	if err := os.WriteFile("/proc/self/"+name, []byte(text), 0); err != nil {
		t.Error(err)
	}
}

// liveSite is this process as the site that a kind wants.
func liveSite(t *testing.T, k kind.Kind) any {
	th := liveThread(t)
	task := th.Task
	task.PID, task.Proc, task.Status, task.Do = kind.PID(os.Getpid()), procDir("/proc/self"), th.Status, performOne
	text, err := task.Proc.Read("stat") // not the thread's: its number is another
	if err == nil {
		task.Stat, err = abi.ParseStat(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if k.Site() == plan.SigHand {
		return &kind.SigHandSite{ID: 7, Task: task}
	}
	return task
}

func dumpProcess(t *testing.T, k kind.Kind) (any, []byte) {
	site := liveSite(t, k)
	if !k.Match(site) {
		return nil, nil
	}
	asked, err := perform(k.Ask(site))
	if err != nil {
		t.Error(err)
	}
	body, err := k.Dump(nil, site, asked)
	if err != nil {
		t.Fatal(err)
	}
	record, err := k.Decode(k.Version(), body)
	if err != nil {
		t.Fatal(err)
	}
	return record, body
}

// TestProcessPart is the body of the processes: one that is changed and
// dumped, or one that is given the record that it shall become like.
func TestProcessPart(t *testing.T) {
	name := os.Getenv(partVariable)
	if name == "" {
		t.Skip("runs only as a part of TestProcessStateCarriedOver")
	}
	runtime.LockOSThread()
	p := processParts()[name]
	k := p.kind()
	before, _ := dumpProcess(t, k)
	if given := os.Getenv(partRecord); given != "" {
		restorePart(t, k, given)
	} else {
		p.change(t)
	}
	after, body := dumpProcess(t, k)
	if reflect.DeepEqual(before, after) {
		t.Errorf("the change does not show: %+v", after)
	}
	fmt.Printf("record %s %x\n", rounded(after), body)
}

func restorePart(t *testing.T, k kind.Kind, given string) {
	body, err := hex.DecodeString(given)
	if err != nil {
		t.Fatal(err)
	}
	record, err := k.Decode(k.Version(), body)
	if err != nil {
		t.Fatal(err)
	}
	h := stateHost(k.Site())
	h.Caller.Born.Limits = liveLimits(t)
	h.Caller.Limits = h.Caller.Born.Limits
	if err := performPlan(k.Plan(record, h)); err != nil {
		t.Fatal(err)
	}
}

// rounded shows a record with what is left of timers to the nearest 100
// seconds: a CPU timer may show a tick more than it was set to.
func rounded(record any) string {
	switch r := record.(type) {
	case *itimersRecord:
		for i := range r.Timers {
			r.Timers[i].Left = (r.Timers[i].Left + 5e7) / 1e8
		}
	case *posixTimersRecord:
		for i := range r.Timers {
			r.Timers[i].Left = (r.Timers[i].Left + 5e10) / 1e11
		}
	}
	return strings.ReplaceAll(fmt.Sprintf("%+v", record), " ", ",")
}

// runPart runs a part in a process of its own and gives its record, as text
// and encoded.
func runPart(t *testing.T, name, given string) (text, body string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessPart$", "-test.v")
	cmd.Env = append(os.Environ(), partVariable+"="+name, partRecord+"="+given,
		"GODEBUG=asyncpreemptoff=1") // or else the runtime sends itself signals, whose actions may be another process's
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "record" {
			return f[1], f[2]
		}
	}
	t.Fatalf("no record:\n%s", out)
	return "", ""
}

func TestProcessStateCarriedOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("some of it takes root")
	}
	for name := range processParts() {
		t.Run(name, func(t *testing.T) {
			dumped, body := runPart(t, name, "")
			restored, _ := runPart(t, name, body)
			if dumped != restored {
				t.Errorf("restored %s\n  dumped %s", restored, dumped)
			}
		})
	}
}

func liveLimits(t *testing.T) abi.Limits {
	text, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	l, err := abi.ParseLimits(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
