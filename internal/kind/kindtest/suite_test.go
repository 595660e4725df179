package kindtest

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

type example struct {
	Peer  kind.FileRef `cbor:"1,keyasint"`
	Bytes []byte       `cbor:"2,keyasint,omitempty"`
	Count uint32       `cbor:"3,keyasint,omitempty"`
}

func with(steps func(example, *kind.Host) []plan.Step) kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, example]{Name: "example", At: plan.OpenFile, Plan: steps})
}

func one(c plan.Call) func(example, *kind.Host) []plan.Step {
	return func(_ example, h *kind.Host) []plan.Step {
		if c.Out.Slot == 9 { // stands for the object itself
			c.Out = h.Self
		}
		return []plan.Step{{Stage: plan.Create, Text: "do it", Ops: []plan.Op{c}}}
	}
}

func TestGoodPlan(t *testing.T) {
	good := with(one(plan.Call{Nr: unix.SYS_DUP, Args: []plan.Arg{plan.FD(kind.FileRef(5).Main())}, Out: plan.Ref{Slot: 9}}))
	b, err := image.Marshal(example{Peer: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := body(good, b); err != nil {
		t.Error(err)
	}
}

// TestBadPlans has a plan against each rule.
func TestBadPlans(t *testing.T) {
	calls := 0
	for want, steps := range map[string]func(example, *kind.Host) []plan.Step{
		"two plans differ": func(example, *kind.Host) []plan.Step {
			calls++
			return []plan.Step{{Text: fmt.Sprint(calls), Needs: []plan.Need{{Demand: "a", Why: "b"}}}}
		},
		"at stage commit": func(example, *kind.Host) []plan.Step {
			return []plan.Step{{Stage: plan.Commit, Text: "x", Needs: []plan.Need{{Demand: "a", Why: "b"}}}}
		},
		`says ""`: func(example, *kind.Host) []plan.Step {
			return []plan.Step{{Needs: []plan.Need{{Demand: "a", Why: "b"}}}}
		},
		"does nothing": func(example, *kind.Host) []plan.Step {
			return []plan.Step{{Text: "x"}}
		},
		`because ""`: func(example, *kind.Host) []plan.Step {
			return []plan.Step{{Text: "x", Needs: []plan.Need{{Demand: "a"}}}}
		},
		"7 arguments":       one(plan.Call{Args: make([]plan.Arg, 7)}),
		"made in task 5":    one(plan.Call{In: plan.Ref{Site: plan.Task, ID: 5}}),
		"names file 6":      one(plan.Call{Args: []plan.Arg{plan.FD(kind.FileRef(6).Main())}}),
		"names inode 5":     one(plan.Call{Out: kind.InodeRef(5).Main()}),
		"of results":        one(plan.Call{Args: []plan.Arg{plan.Out(1<<20 + 1)}}),
		"8 bytes at 1 of 8": one(plan.Call{Args: []plan.Arg{plan.Buf(make([]byte, 8), plan.Reloc{Off: 1, Size: 8})}}),
		"blob 5 goes": func(example, *kind.Host) []plan.Step {
			return []plan.Step{{Text: "x", Ops: []plan.Op{plan.Move{Blob: 5, Into: kind.FileRef(5).Main()}}}}
		},
		"has a plan of": func(example, *kind.Host) []plan.Step {
			var s []plan.Step
			for range 10 {
				s = append(s, one(plan.Call{Args: []plan.Arg{plan.Buf(make([]byte, 1<<20))}})(example{}, &kind.Host{})...)
			}
			return s
		},
	} {
		b, err := image.Marshal(example{Peer: 5, Bytes: []byte{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := body(with(steps), b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestPlanThatChangesItsRecord(t *testing.T) {
	k := with(func(r example, _ *kind.Host) []plan.Step {
		r.Bytes[0]++
		return nil
	})
	b, _ := image.Marshal(example{Bytes: []byte{1}})
	if err := body(k, b); err == nil {
		t.Error("not noticed")
	}
}

type (
	nameless struct {
		A uint32 `cbor:"a"`
	}
	twice struct {
		A uint32 `cbor:"1,keyasint"`
		B uint32 `cbor:"1,keyasint"`
	}
	plainID struct {
		UID uint32 `cbor:"1,keyasint"`
	}
	plainGroup struct {
		ParentPID int32 `cbor:"1,keyasint"`
	}
	loose struct {
		A any `cbor:"1,keyasint"`
	}
	opaque struct {
		Raw []byte `cbor:"1,keyasint"`
	}
	text struct {
		Name string `cbor:"1,keyasint"`
	}
	hidden struct {
		M map[string]kind.PID `cbor:"1,keyasint"`
	}
)

func spec[R any](name string, at plan.Site) kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, R]{Name: name, At: at})
}

// TestBadKinds has a kind against each rule.
func TestBadKinds(t *testing.T) {
	for want, k := range map[string]kind.Kind{
		"the name":                  spec[example]("With-Dash", plan.OpenFile),
		"and takes a":               spec[example]("there", plan.Task),
		"has a record that is":      spec[*example]("pointer", plan.OpenFile),
		"no integer":                spec[nameless]("nameless", plan.OpenFile),
		"the same key":              spec[twice]("twice", plan.OpenFile),
		"UID: it sounds like":       spec[plainID]("plain", plan.OpenFile),
		"ParentPID: it sounds":      spec[plainGroup]("parent", plan.OpenFile),
		"interface {}":              spec[loose]("loose", plan.OpenFile),
		"Raw: it is a string of":    spec[opaque]("opaque", plan.OpenFile),
		"Name: it is a string, and": spec[text]("text", plan.OpenFile),
		"map[string]kind.PID":       spec[hidden]("hidden", plan.OpenFile),
	} {
		var said strings.Builder
		l := linter{errorf: func(format string, a ...any) { fmt.Fprintf(&said, format+"\n", a...) }}
		l.kind(k)
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q, want %q", &said, want)
		}
	}
}
