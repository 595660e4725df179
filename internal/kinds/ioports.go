package kinds

import (
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// IOPorts refuses threads that speak to devices by themselves.
func IOPorts() kind.Kind {
	return refusal("ioports", plan.Thread,
		func(t *kind.ThreadSite) bool { return t.IOPorts },
		func(*kind.ThreadSite) *kind.Unsupported {
			return &kind.Unsupported{Why: "it may use I/O ports (ioperm), and so drives a device whose state nobody shows"}
		})
}
