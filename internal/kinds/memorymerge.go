package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type memoryMergeRecord struct {
	On bool `cbor:"1,keyasint,omitempty"`
}

// MemoryMerge contributes whether KSM may merge all pages of an address space
// (PR_SET_MEMORY_MERGE, Linux 6.4), which also holds for mappings to come.
func MemoryMerge() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, memoryMergeRecord]{
		Name: "memorymerge",
		At:   plan.MM,
		Ask:  asks[*kind.MMSite](prctlAsk(unix.PR_GET_MEMORY_MERGE)),
		Dump: func(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (memoryMergeRecord, error) {
			return memoryMergeRecord{asked[0].Ret == 1}, nil // EINVAL without CONFIG_KSM
		},
		Plan: func(r memoryMergeRecord, h *kind.Host) []plan.Step {
			if !r.On {
				return nil
			}
			return oneStep(plan.Settle, "let all pages be merged", prctlIn(h, unix.PR_SET_MEMORY_MERGE, plan.Int(1)))
		},
	})
}
