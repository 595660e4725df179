package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type mlockFutureRecord struct {
	Lock futureLock `cbor:"1,keyasint,omitempty"`
}

// futureLock is what becomes of mappings to come; 0: they are not locked.
type futureLock uint8

const (
	futureNow     futureLock = iota + 1 // mlockall(MCL_FUTURE)
	futureOnFault                       // with MCL_ONFAULT
)

// futureProbe names the page that is mapped to see what becomes of it.
const futureProbe = 200

// MlockFuture contributes whether what an address space maps from now on is
// locked into memory (mlockall(2)). Nothing shows it but a new mapping: the
// kernel does not drop pages of a locked one (MADV_DONTNEED), and brings them
// into memory at once unless it waits for faults.
func MlockFuture() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, mlockFutureRecord]{
		Name:  "mlockfuture",
		At:    plan.MM,
		Ask:   askFuture,
		Dump:  dumpFuture,
		Check: mlockFutureRecord.check,
		Plan:  mlockFutureRecord.plan,
	})
}

func askFuture(mm *kind.MMSite) []plan.Call {
	const page = 4096
	probe := plan.Ref{Site: plan.MM, ID: mm.ID, Slot: futureProbe}
	at := plan.ResultOf(probe)
	return []plan.Call{
		{Nr: unix.SYS_MMAP, Out: probe, Args: []plan.Arg{plan.Int(0), plan.Int(page), plan.Int(unix.PROT_READ | unix.PROT_WRITE),
			plan.Int(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS), plan.Int(-1), plan.Int(0)}},
		{Nr: unix.SYS_MINCORE, Args: []plan.Arg{at, plan.Int(page), plan.Out(1)}},
		{Nr: unix.SYS_MADVISE, Args: []plan.Arg{at, plan.Int(page), plan.Int(unix.MADV_DONTNEED)}},
		{Nr: unix.SYS_MUNMAP, Args: []plan.Arg{at, plan.Int(page)}},
	}
}

func dumpFuture(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (r mlockFutureRecord, err error) {
	mapped, core, drop := asked[0], asked[1], asked[2]
	switch {
	case mapped.Ret == -int64(unix.EAGAIN):
		return r, &kind.Unsupported{Why: "memory whose mappings to come are locked (mlockall), and its limit (RLIMIT_MEMLOCK) is reached"}
	case mapped.Ret < 0 && mapped.Ret > -4096:
		return r, fmt.Errorf("mapping a page: %w", unix.Errno(-mapped.Ret))
	case drop.Ret != -int64(unix.EINVAL):
	case core.Ret == 0 && core.Out[0][0]&1 != 0:
		r.Lock = futureNow
	default:
		r.Lock = futureOnFault
	}
	return r, nil
}

func (r mlockFutureRecord) check() error {
	if r.Lock > futureOnFault {
		return errors.New("a way to lock that mlockall(2) does not have")
	}
	return nil
}

func (r mlockFutureRecord) plan(h *kind.Host) []plan.Step {
	if r.Lock == 0 {
		return nil
	}
	how := unix.MCL_FUTURE
	if r.Lock == futureOnFault {
		how |= unix.MCL_ONFAULT
	}
	return []plan.Step{{Stage: plan.Arm, Text: "lock what will be mapped into memory",
		Needs: []plan.Need{{Demand: "limit:memlock", Why: "locks mappings to come into memory", Amount: 1}},
		Ops:   []plan.Op{inTask(h, unix.SYS_MLOCKALL, plan.Int(how))}}}
}
