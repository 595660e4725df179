package kinds

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// kernelSays is a Doer that gives each system call one answer.
func kernelSays(answers map[uintptr]plan.Result) kind.Doer {
	return func(c plan.Call) (plan.Result, error) {
		r, ok := answers[c.Nr]
		if !ok {
			return r, unix.ENOSYS
		}
		return r, nil
	}
}

func TestThreadChecks(t *testing.T) {
	checks(t, AltStack(), []altStackRecord{{}, {SP: 1, Size: 2}}, map[string]altStackRecord{
		"no size": {SP: 1}, "no size but a flag": {Autodisarm: true}, "around": {SP: ^uint64(0), Size: 2}})
	checks(t, RSeq(), []rseqRecord{{Addr: 32, Size: 32}}, map[string]rseqRecord{
		"no address": {Size: 32}, "too small": {Addr: 32, Size: 31}, "around": {Addr: ^uint64(0), Size: 32}})
	checks(t, ParentDeathSignal(), []pdeathsigRecord{{}, {64}}, map[string]pdeathsigRecord{"signal 65": {65}})
	checks(t, Personality(), []personalityRecord{{}, {8}}, map[string]personalityRecord{"the question": {^uint32(0)}})
	checks(t, IOPrio(), []ioPrioRecord{{}, {1 << 13}, {3 << 13}}, map[string]ioPrioRecord{"class 4": {4 << 13}, "a level alone": {4}})
	checks(t, Speculation(), []speculationRecord{{}, {4, 8}}, map[string]speculationRecord{"enable": {2, 0}, "both": {12, 0}})
	checks(t, MemPolicy(), []memPolicyRecord{{}, {2, []uint16{0, 1023}}}, map[string]memPolicyRecord{
		"twice": {2, []uint16{1, 1}}, "beyond": {2, []uint16{1024}}, "nodes alone": {0, []uint16{1}}})
	checks(t, Affinity(), []affinityRecord{{}, {[]cpuRange{{0, 3}, {5, 5}}}}, map[string]affinityRecord{
		"backwards": {[]cpuRange{{3, 2}}}, "overlap": {[]cpuRange{{0, 3}, {3, 4}}}, "beyond": {[]cpuRange{{0, maxCPU + 1}}}})
	checks(t, Sched(), []schedRecord{{}, {Policy: 1, Priority: 99}, {Policy: 6, Runtime: 1, Deadline: 2, Period: 3}, {Clamp: &schedUtil{1, 2}}},
		map[string]schedRecord{"policy 4": {Policy: 4}, "SCHED_EXT": {Policy: 7}, "nice 20": {Nice: 20}, "no priority": {Policy: 1},
			"a priority": {Priority: 1}, "priority 100": {Policy: 2, Priority: 100}, "a deadline": {Deadline: 1},
			"clamped backwards": {Clamp: &schedUtil{2, 1}}, "clamped too high": {Clamp: &schedUtil{0, 1025}}})
}

func TestThreadRefusals(t *testing.T) {
	site := sampleThread()
	for _, k := range []kind.Kind{Seccomp(), IOFlusher(), IOPorts(), MCEKill(), RSeq(), Pending()} {
		if k.Match(site) {
			t.Errorf("%s matches an ordinary thread", k.Name())
		}
	}
	site.Status.Seccomp, site.Status.SeccompFilters = 2, 3
	refused(t, Seccomp(), site, "3 seccomp filters")
	site.Status.Seccomp = 1
	refused(t, Seccomp(), site, "strict")
	site.Stat.Flags = pfIOFlusher
	refused(t, IOFlusher(), site, "IO_FLUSHER")
	site.IOPorts = true
	refused(t, IOPorts(), site, "I/O ports")
	site.RSeq = abi.RSeqConfig{Addr: 32, Size: 32, Flags: 1}
	refused(t, RSeq(), site, "rseq")
	if Seccomp().Check(&noRecord{}) == nil {
		t.Error("an image may hold a record of what is refused")
	}
}

func TestRSeqPlan(t *testing.T) {
	site := sampleThread()
	site.RSeq = abi.RSeqConfig{Addr: 0x7000, Size: 32, Signature: 0x53053053}
	_, steps := through(t, RSeq(), site)
	golden(t, steps, "arm: rseq@thread 7(28672,32,0,1392848979)")
}

func TestAltStackAnswers(t *testing.T) {
	stack := func(flags uint32) plan.Result {
		b := abi.Stack{SP: 0x1000, Size: 0x2000}.Encode()
		b[8], b[11] = byte(flags), byte(flags>>24)
		return plan.Result{Out: [][]byte{b}}
	}
	_, steps := through(t, AltStack(), sampleThread(), stack(abi.SSAutodisarm|abi.SSOnstack))
	golden(t, steps, "arm: sigaltstack@thread 7(001000000000000000000080000000000020000000000000,0)")
	_, steps = through(t, AltStack(), sampleThread(), stack(abi.SSDisable))
	golden(t, steps)
	refused(t, AltStack(), sampleThread(), "unknown flags", stack(4))
}

func TestTSCPlan(t *testing.T) {
	_, steps := through(t, TSC(), sampleThread(), plan.Result{Out: [][]byte{{1, 0, 0, 0}}}, plan.Result{Ret: 1})
	golden(t, steps)
	_, steps = through(t, TSC(), sampleThread(), plan.Result{Out: [][]byte{{2, 0, 0, 0}}}, plan.Result{Ret: 0})
	golden(t, steps, "seal: prctl@thread 7(26,2,0,0,0) arch_prctl@thread 7(4114,0)")
}

func TestSchedNeeds(t *testing.T) {
	demand := func(r schedRecord, nice int32, limit uint64) string {
		c := &kind.Caller{Born: kind.Born{Nice: nice}}
		c.Limits[unix.RLIMIT_NICE].Cur = limit
		for _, n := range r.needs(c) {
			return n.Demand
		}
		return ""
	}
	for _, c := range []struct {
		r     schedRecord
		nice  int32
		limit uint64
		want  string
	}{
		{schedRecord{}, 0, 0, ""}, {schedRecord{Nice: 5}, 0, 0, ""}, {schedRecord{}, 5, 0, "sched"},
		{schedRecord{}, 5, 20, ""}, {schedRecord{Nice: -1}, 0, 20, "sched"}, {schedRecord{Nice: -20}, 0, 40, ""},
		{schedRecord{Policy: unix.SCHED_FIFO, Priority: 1}, 0, 40, "sched"},
	} {
		if got := demand(c.r, c.nice, c.limit); got != c.want {
			t.Errorf("%+v for a caller with nice %d, limit %d: %q", c.r, c.nice, c.limit, got)
		}
	}
}

func TestSchedCookie(t *testing.T) {
	site := sampleThread()
	attr := abi.SchedAttr{Policy: unix.SCHED_EXT}
	site.Do = kernelSays(map[uintptr]plan.Result{
		unix.SYS_PRCTL:         {Out: [][]byte{{1, 0, 0, 0, 0, 0, 0, 0}}},
		unix.SYS_SCHED_GETATTR: {Out: [][]byte{attr.Encode()}}})
	refused(t, Sched(), site, "PR_SCHED_CORE")
	site.Do = kernelSays(map[uintptr]plan.Result{unix.SYS_SCHED_GETATTR: {Out: [][]byte{attr.Encode()}}})
	refused(t, Sched(), site, "BPF")
}

func TestAffinityOfAnotherHost(t *testing.T) {
	r := affinityRecord{[]cpuRange{{1, 2}, {65, 65}}}
	h := stateHost(plan.Thread)
	h.Caller.Born.CPUs = maskOf([]cpuRange{{0, 63}})
	golden(t, Affinity().Plan(&r, h), "arm: !cpus:1-2,65")
	h.Caller.Born.CPUs = maskOf([]cpuRange{{0, 127}})
	golden(t, Affinity().Plan(&r, h), "arm: sched_setaffinity@thread 7(0,16,06000000000000000200000000000000)")
	if s := Affinity().Plan(&affinityRecord{}, h); len(s) != 0 {
		t.Errorf("a thread that may run everywhere: %v", s)
	}
	for _, list := range []string{"", "x", "3-2", "1,,2", "70000"} {
		if _, err := parseCPUs(list); err == nil {
			t.Errorf("%q is taken for a list of CPUs", list)
		}
	}
}

func TestLabel(t *testing.T) {
	site := sampleThread()
	_, steps := through(t, Label(), site)
	golden(t, steps)
	site.Proc = procText{"attr/current": "unconfined\n"}
	record, steps := through(t, Label(), site)
	golden(t, steps, "seal: !label")
	h := stateHost(plan.Thread)
	h.Caller.Born.Label = "unconfined"
	golden(t, Label().Plan(record, h))
}

func TestSpeculationLines(t *testing.T) {
	site := sampleThread()
	site.Status.SpecStoreBypass, site.Status.SpecIndirectBranch = "thread vulnerable", "conditional enabled"
	if _, steps := through(t, Speculation(), site); len(steps) != 0 {
		t.Errorf("a thread without mitigations of its own gets %v", steps)
	}
	site.Status.SpecStoreBypass, site.Status.SpecIndirectBranch = "thread force mitigated", "conditional disabled"
	_, steps := through(t, Speculation(), site)
	golden(t, steps, "seal: prctl@thread 7(53,0,8,0,0) prctl@thread 7(53,1,4,0,0)")
}

func TestCredsLost(t *testing.T) {
	h := stateHost(plan.Thread)
	h.Caller.Caps.Bounding, h.Caller.Born.Caps.Bounding = 1, 1
	r := credsRecord{kind.Creds{Caps: kind.CapSets{Bounding: 3}}}
	steps := Creds().Plan(&r, h)
	if len(steps) != 1 || len(steps[0].Ops) != 0 || !strings.Contains(steps[0].Needs[0].Why, "dac_override") {
		t.Errorf("a bounding set that can't be had: %+v", steps)
	}
}
