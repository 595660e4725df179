package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type mlockRecord struct {
	span
	OnFault bool `cbor:"3,keyasint,omitempty"` // MLOCK_ONFAULT
	// Gaps says that the range has pages that nothing can bring into memory:
	// it can't be read, or has guard pages.
	Gaps bool `cbor:"4,keyasint,omitempty"`
}

// Mlock contributes that a mapping is locked into memory, after its pages
// are there.
func Mlock() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, mlockRecord]{
		Name:  "mlock",
		At:    plan.Mapping,
		Match: func(m *kind.MappingSite) bool { return ordinary(m) && m.VMA.Flags.Has(abi.VMFlagLocked) },
		Dump: func(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (mlockRecord, error) {
			r := mlockRecord{span: spanOf(&m.VMA), OnFault: m.VMA.Flags.Has(abi.VMFlagLockOnFault)}
			r.Gaps = !r.OnFault && (m.VMA.Prot == 0 || len(m.Guards) > 0)
			return r, nil
		},
		Check: mlockRecord.check,
		Plan:  mlockRecord.plan,
	})
}

func (r mlockRecord) check() error {
	if r.OnFault && r.Gaps {
		return fmt.Errorf("gaps where nothing is brought into memory")
	}
	return r.span.check()
}

// plan locks. Where there are gaps mlock(2) fails with ENOMEM after it has
// locked all the same, and with ENOMEM too when the limit forbids it: locking
// on fault first, which brings nothing into memory, tells the two apart.
func (r mlockRecord) plan(h *kind.Host) []plan.Step {
	onFault := r.call(h, unix.SYS_MLOCK2, plan.Int(unix.MLOCK_ONFAULT))
	now := r.call(h, unix.SYS_MLOCK2, plan.Int(0))
	calls := []plan.Call{now}
	switch {
	case r.OnFault:
		calls = []plan.Call{onFault}
	case r.Gaps:
		now.Ret = plan.Ret{Tolerate: []uint16{uint16(unix.ENOMEM), uint16(unix.EAGAIN)}}
		calls = []plan.Call{onFault, now}
	}
	return []plan.Step{{
		Stage: plan.Settle,
		Text:  fmt.Sprintf("lock %v into memory", r.span),
		Needs: []plan.Need{{Demand: "limit:memlock", Why: fmt.Sprintf("locks %d bytes into memory", r.len()), Amount: r.len()}},
		Ops:   asOps(calls),
	}}
}
