package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type thpDisableRecord struct {
	// Setting is what PR_GET_THP_DISABLE answers: 1 for disabled, with bit 1
	// where advice counts (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18).
	Setting uint8 `cbor:"1,keyasint,omitempty"`
}

// THPDisable contributes whether transparent huge pages are off for an
// address space. It is set before there are pages, and always, since tasks
// inherit the setting of whoever runs rstr.
func THPDisable() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, thpDisableRecord]{
		Name: "thpdisable",
		At:   plan.MM,
		Ask:  asks[*kind.MMSite](prctlAsk(unix.PR_GET_THP_DISABLE)),
		Dump: func(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (thpDisableRecord, error) {
			if n := asked[0].Ret; n != 0 && n != 1 && n != 3 {
				return thpDisableRecord{}, kind.Unsupportedf("a setting of PR_SET_THP_DISABLE that ckpt does not know (%d)", n)
			}
			return thpDisableRecord{uint8(asked[0].Ret)}, nil
		},
		Check: func(r thpDisableRecord) error {
			if r.Setting != 0 && r.Setting != 1 && r.Setting != 3 {
				return fmt.Errorf("setting %d", r.Setting)
			}
			return nil
		},
		Plan: func(r thpDisableRecord, h *kind.Host) []plan.Step {
			set := prctlIn(h, unix.PR_SET_THP_DISABLE, plan.Int(r.Setting&1), plan.Int(r.Setting&2))
			return oneStep(plan.Create, "allow or forbid huge pages", set)
		},
	})
}
