package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// writeInTask writes a small file below /proc/self in the task itself. The
// descriptor lives only for this: r names it in between.
func writeInTask(h *kind.Host, r plan.Ref, path, text string) []plan.Op {
	open := inTask(h, unix.SYS_OPENAT, atCwd, plan.Str(path), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC))
	open.Out = r
	write := inTask(h, unix.SYS_WRITE, plan.ResultOf(r), plan.Buf([]byte(text)), plan.Int(len(text)))
	write.Ret = plan.Exactly(int64(len(text)))
	return []plan.Op{open, write, inTask(h, unix.SYS_CLOSE, plan.ResultOf(r))}
}
