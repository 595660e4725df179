package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type xcompRecord struct {
	Features uint64 `cbor:"1,keyasint,omitempty"` // XFEATURE bits that had to be asked for
}

// Operations of arch_prctl(2) and the features that need permission
// (Documentation/arch/x86/xstate.rst).
const (
	archGetXcompPerm = 0x1022
	archReqXcompPerm = 0x1023
	xfeatureTileData = 18
)

// XComp keeps the permission to use register state so large that a process
// has to ask for it: AMX tiles. It is asked for before registers are loaded
// and before a signal stack could be too small for them.
func XComp() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, xcompRecord]{
		Name: "xcomp",
		At:   plan.Task,
		Ask:  asks[*kind.TaskSite](plan.Call{Nr: unix.SYS_ARCH_PRCTL, Args: []plan.Arg{plan.Int(archGetXcompPerm), plan.Out(8)}}),
		Dump: func(_ kind.Dump, _ *kind.TaskSite, asked []plan.Result) (xcompRecord, error) {
			if asked[0].Ret < 0 { // Linux before 5.16 has no such state
				return xcompRecord{}, nil
			}
			return xcompRecord{binary.LittleEndian.Uint64(asked[0].Out[0]) & (1 << xfeatureTileData)}, nil
		},
		Check: func(r xcompRecord) error {
			if r.Features&^(1<<xfeatureTileData) != 0 {
				return fmt.Errorf("features %#x", r.Features)
			}
			return nil
		},
		Plan: func(r xcompRecord, h *kind.Host) []plan.Step {
			if r.Features == 0 {
				return nil
			}
			return oneStep(plan.Create, "ask for the permission to use AMX tiles",
				inTask(h, unix.SYS_ARCH_PRCTL, plan.Int(archReqXcompPerm), plan.Int(xfeatureTileData)))
		},
	})
}
