package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// schedRecord is sched_setattr(2)'s view of a thread; times in nanoseconds.
type schedRecord struct {
	Policy      uint32 `cbor:"1,keyasint,omitempty"` // SCHED_*
	ResetOnFork bool   `cbor:"2,keyasint,omitempty"`
	DLFlags     uint64 `cbor:"3,keyasint,omitempty"` // SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN
	Nice        int32  `cbor:"4,keyasint,omitempty"` // also of the policies that do without it
	Priority    uint32 `cbor:"5,keyasint,omitempty"`
	// Runtime, Deadline and Period are those of SCHED_DEADLINE. For the fair
	// policies Runtime is the slice if the thread chose one (Linux 6.12).
	Runtime  uint64     `cbor:"6,keyasint,omitempty"`
	Deadline uint64     `cbor:"7,keyasint,omitempty"`
	Period   uint64     `cbor:"8,keyasint,omitempty"`
	Clamp    *schedUtil `cbor:"9,keyasint"` // null: the thread set none
}

// schedUtil are the bounds of the utilisation that a thread claims.
type schedUtil struct {
	Min uint32 `cbor:"1,keyasint"`
	Max uint32 `cbor:"2,keyasint"`
}

// Flags of struct sched_attr (linux/sched.h).
const (
	schedResetOnFork = 0x01
	schedReclaim     = 0x02
	schedDLOverrun   = 0x04
	schedUtilClamp   = 0x60
	schedCapacity    = 1024 // SCHED_CAPACITY_SCALE: the whole of a CPU
)

// Sched keeps how a thread is scheduled: policy, nice, priorities, deadlines,
// utilisation clamps. A core scheduling cookie (PR_SCHED_CORE(2const)) can't
// be made again and is refused.
func Sched() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, schedRecord]{
		Name:  "sched",
		At:    plan.Thread,
		Dump:  dumpSched,
		Check: schedRecord.check,
		Plan:  schedRecord.plan,
	})
}

func dumpSched(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (schedRecord, error) {
	if err := noCoreCookie(t); err != nil {
		return schedRecord{}, err
	}
	a, err := schedAttrOf(t, t.TID)
	if err != nil {
		return schedRecord{}, err
	}
	if a.Policy == unix.SCHED_EXT {
		return schedRecord{}, kind.Unsupportedf("it is scheduled by a BPF program (SCHED_EXT)")
	}
	r := schedRecord{Policy: a.Policy, ResetOnFork: a.Flags&schedResetOnFork != 0,
		DLFlags: a.Flags & (schedReclaim | schedDLOverrun), Nice: int32(t.Stat.Nice), Priority: a.Priority,
		Runtime: a.Runtime, Deadline: a.Deadline, Period: a.Period, Clamp: clampOf(a)}
	if r.fair() {
		r.Runtime, err = chosenSlice(t, a)
	}
	return r, err
}

func schedAttrOf(t *kind.ThreadSite, tid kind.PID) (abi.SchedAttr, error) {
	res, err := t.Do(plan.Call{Nr: unix.SYS_SCHED_GETATTR, Args: []plan.Arg{
		plan.Int(tid), plan.Out(abi.SizeofSchedAttr), plan.Int(abi.SizeofSchedAttr), plan.Int(0)}})
	if err != nil {
		return abi.SchedAttr{}, fmt.Errorf("reading the scheduling attributes: %w", err)
	}
	return abi.DecodeSchedAttr(res.Out[0])
}

// chosenSlice is the slice of a thread if it isn't the one that all have: the
// kernel does not tell them apart, so the tool's own stands for the latter.
func chosenSlice(t *kind.ThreadSite, a abi.SchedAttr) (uint64, error) {
	own, err := schedAttrOf(t, 0)
	if err != nil || own.Runtime == a.Runtime {
		return 0, err
	}
	return a.Runtime, nil
}

// clampOf leaves out what every thread starts with: everything for ordinary
// ones, all of it at once for real-time ones. A kernel without clamps shows 0.
func clampOf(a abi.SchedAttr) *schedUtil {
	switch u := (schedUtil{a.UtilMin, a.UtilMax}); u {
	case schedUtil{0, 0}, schedUtil{0, schedCapacity}:
		return nil
	case schedUtil{schedCapacity, schedCapacity}:
		if realtime(a.Policy) {
			return nil
		}
		return &u
	default:
		return &u
	}
}

// noCoreCookie looks for a cookie. Kernels and machines without core
// scheduling answer with an error, and have none.
func noCoreCookie(t *kind.ThreadSite) error {
	res, err := t.Do(plan.Call{Nr: unix.SYS_PRCTL, Args: []plan.Arg{plan.Int(unix.PR_SCHED_CORE),
		plan.Int(unix.PR_SCHED_CORE_GET), plan.Int(t.TID), plan.Int(0), plan.Out(8)},
		Ret: plan.Ret{Tolerate: []uint16{uint16(unix.EINVAL), uint16(unix.ENODEV)}}})
	if err == nil && binary.LittleEndian.Uint64(res.Out[0]) != 0 {
		return kind.Unsupportedf("it shares a CPU core only with threads of its choice (PR_SCHED_CORE)")
	}
	return nil
}

func realtime(policy uint32) bool { return policy == unix.SCHED_FIFO || policy == unix.SCHED_RR }

// fair says whether the policy is one of those that go by nice.
func (r schedRecord) fair() bool {
	return r.Policy == unix.SCHED_NORMAL || r.Policy == unix.SCHED_BATCH || r.Policy == unix.SCHED_IDLE
}

func (r schedRecord) check() error {
	switch {
	case !r.fair() && !realtime(r.Policy) && r.Policy != unix.SCHED_DEADLINE:
		return fmt.Errorf("policy %d", r.Policy)
	case r.Nice < -20 || r.Nice > 19:
		return fmt.Errorf("nice %d", r.Nice)
	case realtime(r.Policy) != (r.Priority != 0) || r.Priority > 99:
		return fmt.Errorf("priority %d", r.Priority)
	case r.Policy != unix.SCHED_DEADLINE && (r.Deadline|r.Period|r.DLFlags != 0):
		return errors.New("a deadline without the policy")
	case r.DLFlags&^(schedReclaim|schedDLOverrun) != 0:
		return fmt.Errorf("flags %#x", r.DLFlags)
	case r.Clamp != nil && (r.Clamp.Min > r.Clamp.Max || r.Clamp.Max > schedCapacity):
		return fmt.Errorf("utilisation between %d and %d", r.Clamp.Min, r.Clamp.Max)
	}
	return nil
}

func (r schedRecord) plan(h *kind.Host) []plan.Step {
	a := abi.SchedAttr{Policy: r.Policy, Flags: r.DLFlags, Nice: r.Nice, Priority: r.Priority,
		Runtime: r.Runtime, Deadline: r.Deadline, Period: r.Period}
	if r.ResetOnFork {
		a.Flags |= schedResetOnFork
	}
	if r.Clamp != nil {
		a.Flags |= schedUtilClamp
		a.UtilMin, a.UtilMax = r.Clamp.Min, r.Clamp.Max
	}
	var ops []plan.Op
	if r.Policy != unix.SCHED_NORMAL && r.Policy != unix.SCHED_BATCH {
		// sched_setattr(2) sets nice for these two only.
		ops = append(ops, inTask(h, unix.SYS_SETPRIORITY, plan.Int(unix.PRIO_PROCESS), plan.Int(0), plan.Int(r.Nice)))
	}
	ops = append(ops, inTask(h, unix.SYS_SCHED_SETATTR, plan.Int(0), plan.Buf(a.Encode()), plan.Int(0)))
	return []plan.Step{{
		Stage: plan.Arm,
		Text:  fmt.Sprintf("schedule with policy %d, nice %d, priority %d", r.Policy, r.Nice, r.Priority),
		Needs: r.needs(&h.Caller),
		Ops:   ops,
	}}
}

// needs are for real-time scheduling, and for a better nice than the caller
// may give (RLIMIT_NICE counts from 20 down: getrlimit(2)).
func (r schedRecord) needs(c *kind.Caller) []plan.Need {
	if !r.fair() {
		return []plan.Need{{Demand: "sched", Why: "real-time scheduling"}}
	}
	if r.Nice < c.Born.Nice && uint64(20-r.Nice) > c.Limits[unix.RLIMIT_NICE].Cur {
		return []plan.Need{{Demand: "sched", Why: fmt.Sprintf("nice %d", r.Nice)}}
	}
	return nil
}
