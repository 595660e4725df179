package kinds

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// hostOf is a host that restores open file n.
func hostOf(n uint32) *kind.Host {
	return &kind.Host{Self: plan.Ref{Site: plan.OpenFile, ID: n}, InTree: func(kind.PID) bool { return true }}
}

func TestSignalfd(t *testing.T) {
	w := newWorld(t)
	set := unix.Sigset_t{Val: [16]uint64{uint64(abi.SigSetOf(int(unix.SIGUSR2), 40))}}
	fd := must(unix.Signalfd(-1, &set, unix.SFD_NONBLOCK))(t)
	defer unix.Close(fd)
	f := w.add(fd)
	w.restore(f)
	w.same(f)
	if _, err := Signalfd().Decode(1, must(image.Marshal(signalfdRecord{Mask: 1 << 8}))(t)); err == nil {
		t.Error("a signalfd that reads SIGKILL was accepted")
	}
}
