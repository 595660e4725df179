package kinds

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// vma is a mapping as smaps of Linux 6.18 shows it: its first line, its
// VmFlags, and any other lines.
func vma(t *testing.T, line, flags string, more ...string) *kind.MappingSite {
	t.Helper()
	text := line + "\n" + strings.Join(more, "\n") + "\nVmFlags: " + flags + " \n"
	v, err := abi.ParseSmaps([]byte(strings.ReplaceAll(text, "\n\n", "\n")))
	if err != nil || len(v) != 1 {
		t.Fatalf("%d mappings, %v", len(v), err)
	}
	return &kind.MappingSite{ID: 7, MM: &kind.MMSite{ID: 3, Task: sampleTask()}, VMA: v[0]}
}

// of gives a mapping an inode.
func of(m *kind.MappingSite, i *kind.InodeSite) *kind.MappingSite {
	m.Inode = i
	i.Mappings = append(i.Mappings, m)
	return m
}

// taken sends the record of a site through its encoding and gives back the
// record's plan, as lines.
func taken(t *testing.T, k kind.Kind, d kind.Dump, site any, asked ...plan.Result) (any, []string) {
	t.Helper()
	if !k.Match(site) {
		t.Fatalf("%s does not match", k.Name())
	}
	body, err := k.Dump(d, site, asked)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.Decode(k.Version(), body)
	if err != nil {
		t.Fatal(err)
	}
	h := stateHost(k.Site())
	h.Within = plan.Ref{Site: plan.MM, ID: 3}
	return r, showSteps(k.Plan(r, h))
}

func showSteps(steps []plan.Step) (lines []string) {
	for _, s := range steps {
		line := s.Stage.String() + ":"
		for _, n := range s.Needs {
			line += " !" + n.Demand
		}
		for _, op := range s.Ops {
			line += " " + showOp(op)
		}
		lines = append(lines, line)
	}
	return lines
}

func showOp(op plan.Op) string {
	switch op := op.(type) {
	case plan.Call:
		s := showCall(op)
		for _, f := range op.Expect {
			s += fmt.Sprintf(" %s=%x", f.Name, f.Want)
		}
		return s
	case plan.Move:
		return fmt.Sprintf("move blob %d into %v", op.Blob, op.Into)
	}
	return fmt.Sprintf("%T", op)
}

func wantPlan(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("plan:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// memoryClaimers are the claimers of mappings; each mapping must have one.
func memoryClaimers() kind.Table {
	return kind.Table{Anon(), Filemap(), Special()}
}

func TestEachMappingHasOneClaimer(t *testing.T) {
	file := &kind.InodeSite{ID: 5, Path: "/bin/true"}
	for want, m := range map[string]*kind.MappingSite{
		"anon":    vma(t, "7f0000000000-7f0000001000 rw-p 00000000 00:00 0", "rd wr mr mw me ac"),
		"filemap": of(vma(t, "400000-401000 r-xp 00001000 fe:01 77 /bin/true", "rd ex mr mw me"), file),
		"special": vma(t, "7ff000000000-7ff000002000 r-xp 00000000 00:00 0 [vdso]", "rd ex mr mw me de"),
	} {
		var got []string
		for _, k := range memoryClaimers() {
			if k.Claims() && k.Match(m) {
				got = append(got, k.Name())
			}
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%v is claimed by %v, want %s", m.VMA.VMA, got, want)
		}
	}
}
