package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type mdweRecord struct {
	Bits uint8 `cbor:"1,keyasint"` // PR_MDWE_*
}

// MDWE contributes that an address space denies to make memory executable
// (PR_SET_MDWE, Linux 6.3): last, since it can't be undone and a restore itself
// makes memory executable.
func MDWE() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, mdweRecord]{
		Name: "mdwe",
		At:   plan.MM,
		Ask:  asks[*kind.MMSite](prctlAsk(unix.PR_GET_MDWE)),
		Dump: func(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (mdweRecord, error) {
			n := asked[0].Ret
			if n < 0 { // a kernel that has no MDWE
				n = 0
			}
			return mdweRecord{uint8(n)}, nil
		},
		Check: func(r mdweRecord) error {
			if r.Bits != 0 && r.Bits != unix.PR_MDWE_REFUSE_EXEC_GAIN &&
				r.Bits != unix.PR_MDWE_REFUSE_EXEC_GAIN|unix.PR_MDWE_NO_INHERIT {
				return fmt.Errorf("bits %#x", r.Bits)
			}
			return nil
		},
		Plan: func(r mdweRecord, h *kind.Host) []plan.Step {
			if r.Bits == 0 {
				return nil
			}
			return oneStep(plan.Seal, "deny to make memory executable", prctlIn(h, unix.PR_SET_MDWE, plan.Int(r.Bits)))
		},
	})
}
