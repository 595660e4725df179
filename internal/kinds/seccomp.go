package kinds

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Seccomp refuses threads under seccomp(2), strict or with filters.
func Seccomp() kind.Kind {
	return refusal("seccomp", plan.Thread,
		func(t *kind.ThreadSite) bool { return t.Status.Seccomp != 0 },
		func(t *kind.ThreadSite) *kind.Unsupported {
			if t.Status.Seccomp == 1 {
				return &kind.Unsupported{Why: "it is in seccomp's strict mode"}
			}
			return &kind.Unsupported{
				Why:  fmt.Sprintf("it runs under %d seccomp filters, which can't be restored yet", t.Status.SeccompFilters),
				Hint: "start the program without its sandbox",
			}
		})
}
