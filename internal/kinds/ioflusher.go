package kinds

import (
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// pfIOFlusher are the two flags that PR_SET_IO_FLUSHER(2const) sets together:
// PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE.
const pfIOFlusher = 0x00180000

// IOFlusher refuses threads that other processes' memory depends on: those
// that serve a block device or a file system.
func IOFlusher() kind.Kind {
	return refusal("ioflusher", plan.Thread,
		func(t *kind.ThreadSite) bool { return t.Stat.Flags&pfIOFlusher == pfIOFlusher },
		func(*kind.ThreadSite) *kind.Unsupported {
			return &kind.Unsupported{Why: "it serves a file system or block device (PR_SET_IO_FLUSHER)"}
		})
}
