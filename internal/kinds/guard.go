package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type guardRecord struct {
	Ranges []span `cbor:"1,keyasint"`
}

// madvGuardInstall is MADV_GUARD_INSTALL (asm-generic/mman-common.h, Linux 6.13).
const madvGuardInstall = 102

// Guard contributes the guard pages inside of a mapping. They come before
// the pages around them, and before the mapping is locked, which forbids them.
func Guard() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, guardRecord]{
		Name:  "guard",
		At:    plan.Mapping,
		Match: func(m *kind.MappingSite) bool { return len(m.Guards) > 0 },
		Dump: func(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (guardRecord, error) {
			var r guardRecord
			for _, g := range m.Guards {
				r.Ranges = append(r.Ranges, span{g[0], g[1]})
			}
			return r, nil
		},
		Check: guardRecord.check,
		Plan:  guardRecord.plan,
	})
}

func (r guardRecord) check() error {
	if len(r.Ranges) == 0 {
		return errors.New("no guard pages")
	}
	for i, s := range r.Ranges {
		if err := s.check(); err != nil {
			return err
		}
		if i > 0 && s.Start < r.Ranges[i-1].End {
			return fmt.Errorf("guard pages at %v out of order", s)
		}
	}
	return nil
}

func (r guardRecord) plan(h *kind.Host) []plan.Step {
	var calls []plan.Call
	for _, s := range r.Ranges {
		calls = append(calls, s.call(h, unix.SYS_MADVISE, plan.Int(madvGuardInstall)))
	}
	return oneStep(plan.Connect, fmt.Sprintf("guard %d ranges from %x", len(calls), r.Ranges[0].Start), asOps(calls)...)
}
