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
		r, _ := taken(t, Special(), nil, m)
		got := r.(*specialRecord)
		if code := name == "[vdso]"; code != (len(got.Digest) == 32) || code != (got.Kernel != "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	again, _ := taken(t, Special(), nil, own["[vdso]"])
	other := *own["[vdso]"]
	other.VMA.Start += pageSize
	part, _ := taken(t, Special(), nil, &other)
	if r, _ := taken(t, Special(), nil, own["[vdso]"]); !bytes.Equal(r.(*specialRecord).Digest, again.(*specialRecord).Digest) ||
		bytes.Equal(part.(*specialRecord).Digest, again.(*specialRecord).Digest) {
		t.Error("the digest is not that of the contents")
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
	sum := make([]byte, 32)
	at := span{0x10000, 0x12000}
	checks(t, Special(), []specialRecord{{span: at, Name: "[vdso]", Digest: sum, Kernel: "6.18"}, {span: at, Name: "[vvar]"}},
		map[string]specialRecord{
			"another name": {span: at, Name: "[heap]"},
			"no digest":    {span: at, Name: "[vdso]"},
			"half a one":   {span: at, Name: "[vdso]", Digest: sum[:16]},
			"one too many": {span: at, Name: "[vvar]", Digest: sum},
			"a kernel":     {span: at, Name: "[vvar]", Kernel: "6.18"},
			"large":        {span: span{0x10000, 0x10000 + 2<<20}, Name: "[vvar]"},
			"nowhere":      {Name: "[vvar]"},
		})
}
