package kinds

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// ownSpecials are the sites of the kernel's mappings in the test itself.
func ownSpecials(t *testing.T) map[string]*kind.MappingSite {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	all, err := abi.ParseSmaps(text)
	if err != nil {
		t.Fatal(err)
	}
	w, out := newWorld(t), map[string]*kind.MappingSite{}
	for _, v := range all {
		if strings.HasPrefix(v.Path, "[v") {
			out[v.Path] = &kind.MappingSite{ID: 7, MM: &kind.MMSite{ID: 3, Task: w.task, Do: w.do}, VMA: v}
		}
	}
	return out
}

func TestSpecialsOfThisKernel(t *testing.T) {
	own := ownSpecials(t)
	if own["[vdso]"] == nil || own["[vvar]"] == nil {
		t.Fatalf("only %v", own)
	}
	for name, m := range own {
		if k := claimer(t, plan.Mapping, m); k.Name() != "special" {
			t.Errorf("%s is claimed by %s", name, k.Name())
		}
		for _, k := range All().Of(plan.Mapping) {
			if !k.Claims() && k.Match(m) {
				t.Errorf("%s contributes to %s", k.Name(), name)
			}
		}
		r, steps := taken(t, Special(), nil, m)
		got := r.(*specialRecord)
		if code := name == "[vdso]"; code != (len(got.Build) == buildBytes) || code != (got.Kernel != "") || code != (len(steps) == 2) {
			t.Errorf("%s: %+v: %v", name, got, steps)
		}
	}
}

// The test's own vdso is the one that a record of it asks for, and no other.
func TestVDSOIsRecognised(t *testing.T) {
	m := ownSpecials(t)["[vdso]"]
	r, _ := taken(t, Special(), nil, m)
	for _, c := range []struct {
		want string
		with func(*specialRecord)
	}{
		{"", func(*specialRecord) {}},
		{"changed since the dump: build id ", func(r *specialRecord) { r.Build[3] ^= 1 }},
		{"changed since the dump: build id ", func(r *specialRecord) { r.BuildAt += 4 }},
	} {
		w, rec := newWorld(t), *r.(*specialRecord)
		rec.Build = bytes.Clone(rec.Build)
		c.with(&rec)
		w.values[plan.Ref{Site: plan.MM, ID: 3, Slot: kind.SlotVDSO}] = int64(m.VMA.Start)
		h := &kind.Host{Self: plan.Ref{Site: plan.Mapping, ID: 7}, Within: plan.Ref{Site: plan.MM, ID: 3}}
		var err error
		for _, op := range Special().Plan(&rec, h)[0].Ops {
			if err == nil {
				err = w.op(op)
			}
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestSpecialPlan(t *testing.T) {
	m := vma(t, "7ff000000000-7ff000004000 r--p 00000000 00:00 0 [vvar]", "rd mr pf io de dd")
	_, got := taken(t, Special(), nil, m)
	wantPlan(t, got, "create: mremap@mapping 7({mm 3.1},16384,16384,3,140668768878592)=140668768878592")
	_, got = taken(t, Special(), nil, vma(t, "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]", "ex"))
	wantPlan(t, got)
}

func TestSpecialRefuses(t *testing.T) {
	refused(t, Special(), vma(t, "7ff000000000-7ff000004000 r--p 00000000 00:00 0 [vvar]", "rd mr pf io de dd sl"), "sealed")
	m := vma(t, "7ff000000000-7ff000001000 --xp 00000000 00:00 0 [uprobes]", "ex mr mw me dc de io")
	refused(t, UnsupportedMapping(), m, "[uprobes]")
	refused(t, UnsupportedMapping(), vma(t, "7ff127de9000-7ff127deb000 rw-s 00000000 00:01 0 /SYSV00000000 (deleted)", "rd wr sh mr mw me ms"), "System V")
	id := make([]byte, buildBytes)
	at := span{0x10000, 0x12000}
	checks(t, Special(), []specialRecord{{span: at, Name: "[vdso]", Build: id, BuildAt: 4076, Kernel: "6.18"}, {span: at, Name: "[vvar]"}},
		map[string]specialRecord{
			"another name": {span: at, Name: "[heap]"},
			"no build id":  {span: at, Name: "[vdso]"},
			"half a one":   {span: at, Name: "[vdso]", Build: id[:16]},
			"beyond":       {span: at, Name: "[vdso]", Build: id, BuildAt: 4077},
			"one too many": {span: at, Name: "[vvar]", Build: id},
			"a kernel":     {span: at, Name: "[vvar]", Kernel: "6.18"},
			"large":        {span: span{0x10000, 0x10000 + 2<<20}, Name: "[vvar]"},
			"nowhere":      {Name: "[vvar]"},
		})
}
