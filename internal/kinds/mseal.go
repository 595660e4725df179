package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type msealRecord struct{ span }

// Mseal contributes that a mapping is sealed (mseal(2), Linux 6.10): last,
// since nothing about it can be changed after.
func Mseal() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, msealRecord]{
		Name:  "mseal",
		At:    plan.Mapping,
		Match: func(m *kind.MappingSite) bool { return ordinary(m) && m.VMA.Flags.Has(abi.VMFlagSealed) },
		Dump: func(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (msealRecord, error) {
			return msealRecord{spanOf(&m.VMA)}, nil
		},
		Check: func(r msealRecord) error { return r.span.check() },
		Plan: func(r msealRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Seal, fmt.Sprintf("seal %v", r.span), r.call(h, unix.SYS_MSEAL, plan.Int(0)))
		},
	})
}
