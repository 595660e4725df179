package kinds

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/plan"
)

func TestTaskChecks(t *testing.T) {
	checks(t, OOM(), []oomRecord{{-1000}, {1000}}, map[string]oomRecord{"too low": {-1001}, "too high": {1001}})
	checks(t, Autogroup(), []autogroupRecord{{-20}, {19}}, map[string]autogroupRecord{"too low": {-21}, "too high": {20}})
	checks(t, XComp(), []xcompRecord{{}, {1 << 18}}, map[string]xcompRecord{"AVX": {4}})
	checks(t, ITimers(), []itimersRecord{{}}, map[string]itimersRecord{"negative": {[3]itimer{{Left: -1}}}})
	checks(t, RLimits(), []rlimitsRecord{{}}, map[string]rlimitsRecord{"upside down": {[16]rlimit{{2, 1}}}})
}

func TestITimerThatExpired(t *testing.T) {
	idle := plan.Result{Out: [][]byte{make([]byte, 32)}}
	expired := plan.Result{Out: [][]byte{abi.Itimerval{Interval: abi.Timeval{Sec: 1, Usec: 5}}.Encode()}}
	_, steps := through(t, ITimers(), sampleTask(), expired, idle, idle)
	golden(t, steps, "arm: setitimer@task 7(0,"+showArg(plan.Buf(
		abi.Itimerval{Interval: abi.Timeval{Sec: 1, Usec: 5}, Value: abi.Timeval{Usec: 1}}.Encode()))+",0)")
	_, steps = through(t, ITimers(), sampleTask(), idle, idle, idle)
	golden(t, steps)
}

func TestRLimitsPlan(t *testing.T) {
	h := stateHost(plan.Task)
	for n := range h.Caller.Limits {
		h.Caller.Limits[n] = abi.Rlimit{Cur: 10, Max: 20}
	}
	h.Caller.Born.Limits = h.Caller.Limits
	var r rlimitsRecord
	for n := range r.Limits {
		r.Limits[n] = rlimit{10, 20}
	}
	golden(t, RLimits().Plan(&r, h))

	r.Limits[unix.RLIMIT_NOFILE] = rlimit{15, 18}                              // soft up, hard down
	r.Limits[unix.RLIMIT_CORE] = rlimit{0, 0}                                  // down
	r.Limits[unix.RLIMIT_MEMLOCK] = rlimit{abi.RlimInfinity, abi.RlimInfinity} // up
	enc := func(c, m uint64) string { return showArg(plan.Buf(abi.Rlimit{Cur: c, Max: m}.Encode())) }
	golden(t, RLimits().Plan(&r, h),
		"create: !rlimit:memlock prlimit64@task 7(0,7,"+enc(15, 20)+",0) prlimit64@task 7(0,8,"+enc(abi.RlimInfinity, abi.RlimInfinity)+",0)",
		"seal: prlimit64@task 7(0,4,"+enc(0, 0)+",0) prlimit64@task 7(0,7,"+enc(15, 18)+",0)")
}

func TestOOMPlan(t *testing.T) {
	site := sampleTask()
	site.Proc = procText{"oom_score_adj": "-5\n"}
	record, steps := through(t, OOM(), site)
	golden(t, steps, `arm: !oom openat@task 7(-100,2f70726f632f73656c662f6f6f6d5f73636f72655f61646a00,524289)->task 7.200`+
		` write@task 7({task 7.200},"-5",2)=2 close@task 7({task 7.200})`)
	h := stateHost(plan.Task)
	h.Caller.Born.OOMAdj = -5
	golden(t, OOM().Plan(record, h))
}

func TestAutogroupMatch(t *testing.T) {
	site := sampleTask()
	site.Stat.Session = site.Stat.Pid
	if Autogroup().Match(site) {
		t.Error("it matches on a kernel without autogroups")
	}
	site.Proc = procText{"autogroup": "/autogroup-10 nice 0\n"}
	if Autogroup().Match(site) {
		t.Error("it matches a group with the default")
	}
	site.Proc = procText{"autogroup": "/autogroup-10 nice -3\n"}
	if !Autogroup().Match(site) {
		t.Error("it does not match a group with a nice value")
	}
	site.Stat.Session++
	if Autogroup().Match(site) {
		t.Error("it matches a process that does not lead its session")
	}
}

func TestDumpable(t *testing.T) {
	site := sampleTask()
	site.Status.UID = abi.IDs{Real: 5, Effective: 5, Saved: 5, FS: 5}
	owner := func(uid uint32) {
		b := make([]byte, 256)
		binary.LittleEndian.PutUint32(b[statxUID:], uid)
		site.Do = kernelSays(map[uintptr]plan.Result{unix.SYS_STATX: {Out: [][]byte{b}}})
	}
	owner(5)
	_, steps := through(t, Dumpable(), site, plan.Result{Ret: 1})
	golden(t, steps, "seal: !loosen:dumpable prctl@task 7(4,1,0,0,0)")
	if _, err := Dumpable().Dump(nil, site, []plan.Result{{Ret: 0}}); err == nil {
		t.Error("it is believed to be non-dumpable")
	}
	owner(0)
	_, steps = through(t, Dumpable(), site, plan.Result{Ret: 2})
	golden(t, steps, "seal: prctl@task 7(4,0,0,0,0)")
	if _, err := Dumpable().Dump(nil, site, []plan.Result{{Ret: 1}}); err == nil {
		t.Error("it is believed to be dumpable")
	}
}

func TestXComp(t *testing.T) {
	features := binary.LittleEndian.AppendUint64(nil, 0x602e7)
	_, steps := through(t, XComp(), sampleTask(), plan.Result{Out: [][]byte{features}})
	golden(t, steps, "create: arch_prctl@task 7(4131,18)")
	_, steps = through(t, XComp(), sampleTask(), plan.Result{Ret: -int64(unix.EINVAL), Out: [][]byte{features}})
	golden(t, steps)
}
