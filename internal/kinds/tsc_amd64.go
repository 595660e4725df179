package kinds

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type tscRecord struct {
	NoTSC   bool `cbor:"1,keyasint,omitempty"` // rdtsc raises SIGSEGV (PR_SET_TSC(2const))
	NoCPUID bool `cbor:"2,keyasint,omitempty"` // cpuid raises SIGSEGV (arch_prctl(2), ARCH_SET_CPUID)
}

// TSC keeps which instructions that identify time and machine a thread has
// made to fault. Both are the thread's own word.
func TSC() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, tscRecord]{
		Name: "tsc",
		At:   plan.Thread,
		Ask: asks[*kind.ThreadSite](prctlAsk(unix.PR_GET_TSC, plan.Out(4)),
			plan.Call{Nr: unix.SYS_ARCH_PRCTL, Args: []plan.Arg{plan.Int(abi.ArchGetCPUID), plan.Int(0)}}),
		Dump: dumpTSC,
		Plan: tscRecord.plan,
	})
}

func dumpTSC(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (tscRecord, error) {
	for _, a := range asked {
		if err := answer(a, "faulting instructions"); err != nil {
			return tscRecord{}, err
		}
	}
	return tscRecord{
		NoTSC:   binary.LittleEndian.Uint32(asked[0].Out[0]) == unix.PR_TSC_SIGSEGV,
		NoCPUID: asked[1].Ret == 0,
	}, nil
}

func (r tscRecord) plan(h *kind.Host) []plan.Step {
	var ops []plan.Op
	if r.NoTSC {
		ops = append(ops, prctlIn(h, unix.PR_SET_TSC, plan.Int(unix.PR_TSC_SIGSEGV)))
	}
	if r.NoCPUID {
		ops = append(ops, inTask(h, unix.SYS_ARCH_PRCTL, plan.Int(abi.ArchSetCPUID), plan.Int(0)))
	}
	return oneStep(plan.Seal, "make rdtsc or cpuid fault", ops...)
}
