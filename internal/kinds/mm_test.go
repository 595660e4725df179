package kinds

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func words(w ...uint64) string {
	var b []byte
	for _, x := range w {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return string(b)
}

func sampleMM(auxv string) *kind.MMSite {
	task := sampleTask()
	task.Status = &abi.Status{UntagMask: ^uint64(0)}
	task.Stat = &abi.Stat{StartCode: 0x400000, EndCode: 0x401000, StartData: 0x402000, EndData: 0x403000, StartBrk: 0x500000,
		StartStk: 0x7ffc00020000, ArgStart: 0x7ffc00020100, ArgEnd: 0x7ffc00020110, EnvStart: 0x7ffc00020110, EnvEnd: 0x7ffc00020200}
	task.Proc = procText{"auxv": auxv, "coredump_filter": "00000033\n"}
	return &kind.MMSite{ID: 7, Task: task, Exe: &kind.InodeSite{ID: 5}}
}

func TestMM(t *testing.T) {
	auxv := words(33, 0x7ff000000000, 11, 1000, 12, 0, 13, 100, 14, 200, 6, 4096, 0, 0)
	r, got := taken(t, MM(), nil, sampleMM(auxv), plan.Result{Ret: 0x521000})
	if m := r.(*mmRecord); m.UID != 1000 || m.EUID != 0 || m.GID != 100 || m.EGID != 200 || m.Auxv[3] != 0 {
		t.Errorf("%+v", m)
	}
	layout := words(0x400000, 0x401000, 0x402000, 0x403000, 0x500000, 0x521000, 0x7ffc00020000,
		0x7ffc00020100, 0x7ffc00020110, 0x7ffc00020110, 0x7ffc00020200, 0) + "\x70\x00\x00\x00\x00\x00\x00\x00"
	hex := func(s string) string { return strings.TrimSuffix(showArg(plan.Buf([]byte(s+"\xff"))), "ff") }
	wantPlan(t, got,
		"create: !file:inode 5:r openat@tool(-100,{inode 5},524544)->inode 5.1",
		"create: !exe-link prctl@mm 7(35,14,"+hex(layout)+"[88:8="+hex(auxv)+"][100:4={inode 5.1}],104,0)")
}

func TestMMOfThisProcess(t *testing.T) {
	w := newWorld(t)
	text := must(os.ReadFile("/proc/self/stat"))(t)
	w.task.Stat = must(abi.ParseStat(text))(t)
	w.task.Status = must(abi.ParseStatus(must(os.ReadFile("/proc/self/status"))(t)))(t)
	mm := &kind.MMSite{ID: 7, Task: w.task, Exe: &kind.InodeSite{ID: 5}, Do: w.do}
	for _, k := range All().Of(plan.MM) {
		var asked []plan.Result
		for _, c := range k.Ask(mm) {
			r, _ := w.do(c)
			asked = append(asked, r)
		}
		r, steps := taken(t, k, nil, mm, asked...)
		t.Logf("%s: %+v: %v", k.Name(), r, steps)
	}
}

func TestMMRefuses(t *testing.T) {
	mm := sampleMM(words(0, 0))
	mm.Task.Status.UntagMask = 0x81ff_ffff_ffff_ffff
	refused(t, MM(), mm, "tags", plan.Result{})
	if _, err := MM().Dump(nil, sampleMM(words(6, 4096)), []plan.Result{{}}); err == nil {
		t.Error("an auxiliary vector without an end was accepted")
	}
	good := mmRecord{Exe: 1, Brk: span{5, 7}}
	with := func(change func(*mmRecord)) mmRecord {
		r := good
		change(&r)
		return r
	}
	checks(t, MM(), []mmRecord{good}, map[string]mmRecord{
		"no executable":   with(func(r *mmRecord) { r.Exe = 0 }),
		"break backwards": with(func(r *mmRecord) { r.Brk = span{7, 5} }),
		"kernel's stack":  with(func(r *mmRecord) { r.Stack = 1 << 63 }),
		"odd vector":      with(func(r *mmRecord) { r.Auxv = []uint64{6} }),
		"early end":       with(func(r *mmRecord) { r.Auxv = []uint64{0, 0} }),
		"an id inside":    with(func(r *mmRecord) { r.Auxv = []uint64{12, 1} }),
		"long vector":     with(func(r *mmRecord) { r.Auxv = make([]uint64, 100) }),
	})
}

func TestMMContributors(t *testing.T) {
	mm := sampleMM("")
	for name, c := range map[string]struct {
		kind  kind.Kind
		asked []plan.Result
		want  []string
	}{
		"coredump filter": {CoredumpFilter(), nil, []string{`create: openat@mm 7(-100,2f70726f632f73656c662f636f726564756d705f66696c74657200,524289)->mm 7.4 ` +
			`write@mm 7({mm 7.4},3078333300,4)=4 close@mm 7({mm 7.4})`}},
		"huge pages":         {THPDisable(), []plan.Result{{Ret: 0}}, []string{"create: prctl@mm 7(41,0,0,0,0)"}},
		"no huge pages":      {THPDisable(), []plan.Result{{Ret: 1}}, []string{"create: prctl@mm 7(41,1,0,0,0)"}},
		"only advised ones":  {THPDisable(), []plan.Result{{Ret: 3}}, []string{"create: prctl@mm 7(41,1,2,0,0)"}},
		"mdwe":               {MDWE(), []plan.Result{{Ret: 1}}, []string{"seal: prctl@mm 7(65,1,0,0,0)"}},
		"no mdwe":            {MDWE(), []plan.Result{{Ret: -22}}, nil},
		"merging":            {MemoryMerge(), []plan.Result{{Ret: 1}}, []string{"settle: prctl@mm 7(67,1,0,0,0)"}},
		"no merging":         {MemoryMerge(), []plan.Result{{Ret: -22}}, nil},
		"membarrier":         {Membarrier(), []plan.Result{{Ret: 0x14}}, []string{"settle: membarrier@mm 7(4,0,0) membarrier@mm 7(16,0,0)"}},
		"older membarrier":   {Membarrier(), []plan.Result{{Ret: -22}}, nil},
		"without membarrier": {Membarrier(), []plan.Result{{Ret: 0}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := taken(t, c.kind, nil, mm, c.asked...)
			wantPlan(t, got, c.want...)
		})
	}
	refused(t, THPDisable(), mm, "PR_SET_THP_DISABLE", plan.Result{Ret: 5})
	checks(t, MDWE(), nil, map[string]mdweRecord{"only no-inherit": {2}, "more": {5}})
	checks(t, Membarrier(), nil, map[string]membarrierRecord{"a command": {1}})
	checks(t, CoredumpFilter(), nil, map[string]coredumpFilterRecord{"more": {1 << 9}})
	checks(t, THPDisable(), nil, map[string]thpDisableRecord{"bits": {2}})
}
