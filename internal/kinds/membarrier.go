package kinds

import (
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type membarrierRecord struct {
	Registered uint32 `cbor:"1,keyasint,omitempty"` // MEMBARRIER_CMD_REGISTER_*
}

// The commands that register an address space (linux/membarrier.h), and the
// one that tells which did (Linux 6.3).
const (
	membarrierRegistrations = 1<<2 | 1<<4 | 1<<6 | 1<<8
	membarrierGet           = 1 << 9
)

// Membarrier contributes for which kinds of membarrier(2) an address space is
// registered; without it the calls of a program that did so begin to fail.
func Membarrier() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, membarrierRecord]{
		Name: "membarrier",
		At:   plan.MM,
		Ask:  asks[*kind.MMSite](plan.Call{Nr: unix.SYS_MEMBARRIER, Args: []plan.Arg{plan.Int(membarrierGet), plan.Int(0), plan.Int(0)}}),
		Dump: func(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (membarrierRecord, error) {
			if asked[0].Ret < 0 { // older kernels do not tell
				return membarrierRecord{}, nil
			}
			return membarrierRecord{uint32(asked[0].Ret)}, nil
		},
		Check: func(r membarrierRecord) error {
			if r.Registered&^membarrierRegistrations != 0 {
				return fmt.Errorf("commands %#x", r.Registered)
			}
			return nil
		},
		Plan: membarrierRecord.plan,
	})
}

func (r membarrierRecord) plan(h *kind.Host) []plan.Step {
	var calls []plan.Call
	for left := r.Registered; left != 0; left &= left - 1 {
		calls = append(calls, inTask(h, unix.SYS_MEMBARRIER, plan.Int(uint32(1)<<bits.TrailingZeros32(left)), plan.Int(0), plan.Int(0)))
	}
	return oneStep(plan.Settle, "register for membarrier", asOps(calls)...)
}
