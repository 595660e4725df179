package kinds

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type coredumpFilterRecord struct {
	Filter uint32 `cbor:"1,keyasint,omitempty"`
}

// CoredumpFilter contributes which mappings a core dump would hold
// (core(5), /proc/PID/coredump_filter).
func CoredumpFilter() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, coredumpFilterRecord]{
		Name:  "coredumpfilter",
		At:    plan.MM,
		Dump:  dumpCoredumpFilter,
		Check: coredumpFilterRecord.check,
		Plan:  coredumpFilterRecord.plan,
	})
}

func dumpCoredumpFilter(_ kind.Dump, mm *kind.MMSite, _ []plan.Result) (coredumpFilterRecord, error) {
	text, err := mm.Task.Proc.Read("coredump_filter")
	if err != nil {
		return coredumpFilterRecord{}, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 32)
	return coredumpFilterRecord{uint32(n)}, err
}

func (r coredumpFilterRecord) check() error {
	if r.Filter >= 1<<9 { // MMF_DUMP_FILTER_BITS
		return fmt.Errorf("filter %#x", r.Filter)
	}
	return nil
}

// plan has the task write its own file, by the lowest free descriptor, before
// any descriptor has its final place.
func (r coredumpFilterRecord) plan(h *kind.Host) []plan.Step {
	fd := slot(h.Self, kind.SlotMMOther)
	text := fmt.Sprintf("%#x", r.Filter)
	open := inTask(h, unix.SYS_OPENAT, atCwd, plan.Str("/proc/self/coredump_filter"), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC))
	open.Out = fd
	write := inTask(h, unix.SYS_WRITE, plan.ResultOf(fd), plan.Str(text), plan.Int(len(text)))
	write.Ret = plan.Exactly(int64(len(text)))
	return oneStep(plan.Create, "set what core dumps hold", open, write, inTask(h, unix.SYS_CLOSE, plan.ResultOf(fd)))
}
