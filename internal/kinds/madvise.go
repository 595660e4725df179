package kinds

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type madviseRecord struct {
	span
	Advice []uint8 `cbor:"3,keyasint"` // MADV_*, ascending
}

// advice is one thing that madvise(2) leaves on a mapping.
type advice struct {
	flag   abi.VMFlags
	number uint8
	stage  plan.Stage
	name   string
}

// advices are in ascending order of their numbers, and say when a restore repeats it. Advice about page sizes comes before
// there are pages; what concerns the children of fork(2) when all tasks exist.
var advices = []advice{
	{abi.VMFlagRandRead, unix.MADV_RANDOM, plan.Connect, "random"},
	{abi.VMFlagSeqRead, unix.MADV_SEQUENTIAL, plan.Connect, "sequential"},
	{abi.VMFlagDontCopy, unix.MADV_DONTFORK, plan.Settle, "dontfork"},
	{abi.VMFlagMergeable, unix.MADV_MERGEABLE, plan.Connect, "mergeable"},
	{abi.VMFlagHugePage, unix.MADV_HUGEPAGE, plan.Connect, "hugepage"},
	{abi.VMFlagNoHugePage, unix.MADV_NOHUGEPAGE, plan.Connect, "nohugepage"},
	{abi.VMFlagDontDump, unix.MADV_DONTDUMP, plan.Connect, "dontdump"},
	{abi.VMFlagWipeOnFork, unix.MADV_WIPEONFORK, plan.Settle, "wipeonfork"},
}

// Madvise contributes the advice that a mapping was given.
func Madvise() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, madviseRecord]{
		Name: "madvise",
		At:   plan.Mapping,
		Match: func(m *kind.MappingSite) bool {
			return ordinary(m) && len(adviceOf(m)) > 0
		},
		Dump: func(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (madviseRecord, error) {
			return madviseRecord{spanOf(&m.VMA), adviceOf(m)}, nil
		},
		Check: madviseRecord.check,
		Plan:  madviseRecord.plan,
	})
}

// adviceOf reads VmFlags. Droppable memory has some of the flags by nature.
func adviceOf(m *kind.MappingSite) []uint8 {
	flags := m.VMA.Flags
	if flags.Has(abi.VMFlagDroppable) {
		flags &^= abi.VMFlagWipeOnFork | abi.VMFlagDontDump
	}
	var out []uint8
	for _, a := range advices {
		if flags.Has(a.flag) {
			out = append(out, a.number)
		}
	}
	return out
}

func (r madviseRecord) check() error {
	if len(r.Advice) == 0 {
		return fmt.Errorf("no advice")
	}
	for i, n := range r.Advice {
		known := slices.ContainsFunc(advices, func(a advice) bool { return a.number == n })
		if !known || i > 0 && n <= r.Advice[i-1] {
			return fmt.Errorf("advice %v", r.Advice)
		}
	}
	return r.span.check()
}

func (r madviseRecord) plan(h *kind.Host) []plan.Step {
	var steps []plan.Step
	for _, a := range advices {
		if slices.Contains(r.Advice, a.number) {
			steps = append(steps, oneStep(a.stage, fmt.Sprintf("advise %s for %v", a.name, r.span),
				r.call(h, unix.SYS_MADVISE, plan.Int(a.number)))...)
		}
	}
	return steps
}
