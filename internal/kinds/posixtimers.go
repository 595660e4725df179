package kinds

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// posixTimer is a timer of timer_create(2); times in nanoseconds.
type posixTimer struct {
	ID       int32    `cbor:"1,keyasint"`
	Clock    int32    `cbor:"2,keyasint"` // CLOCK_*; negative: a CPU clock, in the kernel's encoding
	Notify   uint8    `cbor:"3,keyasint"` // SIGEV_SIGNAL or SIGEV_NONE, perhaps with SIGEV_THREAD_ID
	Signal   uint8    `cbor:"4,keyasint,omitempty"`
	Value    uint64   `cbor:"5,keyasint,omitempty"` // sigev_value
	Target   kind.PID `cbor:"6,keyasint,omitempty"` // with SIGEV_THREAD_ID
	Left     int64    `cbor:"7,keyasint,omitempty"` // until the next expiry; 0: disarmed
	Interval int64    `cbor:"8,keyasint,omitempty"`
	// Fired says that the timer's signal was waiting to be delivered. The
	// timer is restored so that it expires at once and queues its own signal.
	Fired bool `cbor:"9,keyasint,omitempty"`
}

type posixTimersRecord struct {
	Timers []posixTimer `cbor:"1,keyasint"` // by id
}

// PosixTimers keeps a process's timers with their ids. What is left of them
// is measured from the dump to the release; a timer that was armed for a time
// of day can't be told from one armed for a span. Overruns that were counted
// but not yet delivered are lost.
func PosixTimers() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, posixTimersRecord]{
		Name:  "posixtimers",
		At:    plan.Task,
		Match: func(t *kind.TaskSite) bool { timers, err := timersOf(t); return err != nil || len(timers) > 0 },
		Ask:   askPosixTimers,
		Dump:  dumpPosixTimers,
		Check: posixTimersRecord.check,
		Plan:  posixTimersRecord.plan,
	})
}

// timersOf lists the timers by id.
func timersOf(t *kind.TaskSite) ([]abi.PosixTimer, error) {
	text, err := t.Proc.Read("timers")
	if errors.Is(err, unix.ENOENT) { // a kernel without CONFIG_POSIX_TIMERS or CHECKPOINT_RESTORE
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	timers, err := abi.ParseTimers(text)
	slices.SortFunc(timers, func(a, b abi.PosixTimer) int { return cmp.Compare(a.ID, b.ID) })
	return timers, err
}

// firedTimers are those whose signal waits in a queue and can be made again
// by the timer itself. A CPU clock stands still during a restore, so signals
// of its timers are queued like any other.
func firedTimers(t *kind.TaskSite) (map[int32]bool, error) {
	timers, err := timersOf(t)
	if err != nil {
		return nil, err
	}
	waiting := map[int32]bool{}
	for _, th := range t.Threads {
		for _, s := range slices.Concat(th.Pending, th.Shared) {
			if s.Code == abi.SITimer {
				waiting[s.TimerID] = true
			}
		}
	}
	fired := map[int32]bool{}
	for _, tm := range timers {
		fired[tm.ID] = waiting[tm.ID] && tm.Clock >= 0 && tm.Notify&abi.SigevNone == 0
	}
	return fired, nil
}

func askPosixTimers(t *kind.TaskSite) []plan.Call {
	timers, _ := timersOf(t) // Dump meets the error again
	var out []plan.Call
	for _, tm := range timers {
		out = append(out, plan.Call{Nr: unix.SYS_TIMER_GETTIME, Args: []plan.Arg{plan.Int(tm.ID), plan.Out(abi.SizeofItimerspec)}})
	}
	return out
}

func dumpPosixTimers(d kind.Dump, t *kind.TaskSite, asked []plan.Result) (r posixTimersRecord, err error) {
	timers, err := timersOf(t)
	if err != nil {
		return r, err
	}
	fired, err := firedTimers(t)
	if err != nil {
		return r, err
	}
	for i, tm := range timers {
		if err := answer(asked[i], fmt.Sprintf("timer %d", tm.ID)); err != nil {
			return r, err
		}
		if err := impossibleClock(d, t, tm); err != nil {
			return r, err
		}
		spec := abi.DecodeItimerspec(asked[i].Out[0])
		p := posixTimer{ID: tm.ID, Clock: tm.Clock, Notify: uint8(tm.Notify), Signal: uint8(tm.Signal), Value: tm.Value,
			Left: nanos(spec.Value), Interval: nanos(spec.Interval), Fired: fired[tm.ID]}
		if tm.Notify&abi.SigevThreadID != 0 {
			p.Target = kind.PID(tm.Target)
		}
		r.Timers = append(r.Timers, p)
	}
	return r, nil
}

// Encoding of CPU clocks in a negative clockid_t (linux/posix-timers_types.h):
// the complement of the PID, or of 0 for oneself, above three bits.
const (
	cpuClockThread = 4 // of a thread, not of a process
	cpuClockMask   = 7
	cpuClockFD     = 3 // the complement is of a descriptor instead
)

func cpuClockPID(clock int32) kind.PID { return kind.PID(^(clock >> 3)) }

// impossibleClock refuses clocks that a restored timer could not be put on.
func impossibleClock(d kind.Dump, t *kind.TaskSite, tm abi.PosixTimer) error {
	if tm.Clock >= 0 {
		return nil
	}
	pid := cpuClockPID(tm.Clock)
	switch {
	case tm.Clock&cpuClockMask == cpuClockFD || tm.Clock&cpuClockMask == cpuClockMask:
		return kind.Unsupportedf("its timer %d runs on a clock device", tm.ID)
	case pid == 0 && tm.Clock&cpuClockThread != 0 && len(t.Threads) > 1:
		return kind.Unsupportedf("its timer %d measures the CPU time of a thread, and the kernel does not tell which", tm.ID)
	case pid != 0 && !d.InTree(pid):
		return kind.Unsupportedf("its timer %d measures the CPU time of process %d, which is not part of the tree", tm.ID, pid)
	}
	return nil
}

// maxTimers bounds a hostile image; the kernel's bound is RLIMIT_SIGPENDING.
const maxTimers = 1 << 16

func (r posixTimersRecord) check() error {
	if len(r.Timers) > maxTimers {
		return fmt.Errorf("%d timers", len(r.Timers))
	}
	last := int32(-1)
	for _, t := range r.Timers {
		if t.ID <= last {
			return fmt.Errorf("timer %d after %d", t.ID, last)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("timer %d: %w", t.ID, err)
		}
		last = t.ID
	}
	return nil
}

func (t posixTimer) check() error {
	switch {
	case t.Left < 0 || t.Interval < 0:
		return errors.New("negative times")
	case t.Clock < 0 && t.Clock&cpuClockFD == cpuClockFD:
		return errors.New("a clock device")
	case t.Notify&^(abi.SigevNone|abi.SigevThreadID) != 0:
		return fmt.Errorf("notification %d", t.Notify)
	case (t.Notify&abi.SigevThreadID != 0) != (t.Target > 0):
		return errors.New("a target that does not fit the notification")
	case t.Notify&abi.SigevNone == 0 && (t.Signal == 0 || t.Signal > maxSignal):
		return fmt.Errorf("signal %d", t.Signal)
	case t.Fired && (t.Clock < 0 || t.Notify&abi.SigevNone != 0):
		return errors.New("it fired and can't")
	}
	return nil
}

// plan makes all timers first, then arms them.
func (r posixTimersRecord) plan(h *kind.Host) []plan.Step {
	made := plan.Step{Stage: plan.Settle, Text: fmt.Sprintf("make %d timers with their ids", len(r.Timers))}
	armed := plan.Step{Stage: plan.Arm, Text: "arm the timers"}
	if restoresTimerIDs(h.Kernel) {
		made.Ops = r.makeByID(h)
	} else {
		made.Ops, made.Needs = r.makeByCounting(h)
	}
	for _, t := range r.Timers {
		if pid := cpuClockPID(t.Clock); t.Clock < 0 && pid != 0 && !h.InTree(pid) {
			return []plan.Step{{Stage: plan.Settle, Text: "make timers", Needs: []plan.Need{{
				Demand: "outside", Why: fmt.Sprintf("timer %d measures the CPU time of process %d, which is not part of the tree", t.ID, pid)}}}}
		}
		if t.Clock == unix.CLOCK_REALTIME_ALARM || t.Clock == unix.CLOCK_BOOTTIME_ALARM {
			made.Needs = append(made.Needs, plan.Need{Demand: "cap:wake_alarm", Why: fmt.Sprintf("timer %d wakes the machine", t.ID)})
		}
		if c, ok := t.arm(h); ok {
			armed.Ops = append(armed.Ops, c)
		}
	}
	if len(armed.Ops) == 0 {
		return []plan.Step{made}
	}
	return []plan.Step{made, armed}
}

// restoresTimerIDs says whether the kernel takes wished ids:
// PR_TIMER_CREATE_RESTORE_IDS came with Linux 6.16.
func restoresTimerIDs(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || major == 6 && minor >= 16
}

func (r posixTimersRecord) makeByID(h *kind.Host) []plan.Op {
	wish := func(on int) plan.Op { return prctlIn(h, abi.PrTimerCreateRestoreIDs, plan.Int(on)) }
	ops := []plan.Op{wish(abi.PrTimerCreateRestoreIDsOn)}
	for _, t := range r.Timers {
		ops = append(ops, t.create(h, t.ID))
	}
	return append(ops, wish(abi.PrTimerCreateRestoreIDsOff))
}

// maxTimerGap is how many ids are tried on an older kernel, which numbers the
// timers of a process from 0 on.
const maxTimerGap = 1 << 14

func (r posixTimersRecord) makeByCounting(h *kind.Host) (ops []plan.Op, needs []plan.Need) {
	next := int32(0)
	for _, t := range r.Timers {
		if t.ID > maxTimerGap {
			return nil, []plan.Need{{Demand: "kernel:6.16", Why: fmt.Sprintf("timer id %d is out of reach of this kernel", t.ID)}}
		}
		for ; next < t.ID; next++ {
			ops = append(ops, posixTimer{Clock: unix.CLOCK_MONOTONIC, Notify: abi.SigevNone}.create(h, next),
				inTask(h, unix.SYS_TIMER_DELETE, plan.Int(next)))
		}
		ops = append(ops, t.create(h, t.ID))
		next = t.ID + 1
	}
	return ops, nil
}

// create presets the id, which the kernel either obeys or overwrites.
func (t posixTimer) create(h *kind.Host, id int32) plan.Call {
	ev := abi.Sigevent{Value: t.Value, Signo: int32(t.Signal), Notify: int32(t.Notify)}.Encode()
	var relocs []plan.Reloc
	if t.Notify&abi.SigevThreadID != 0 {
		relocs = append(relocs, plan.Reloc{Off: abi.SigeventTID, Size: 4, Arg: plan.PID(t.Target)})
	}
	return inTask(h, unix.SYS_TIMER_CREATE, t.clock(), plan.Buf(ev, relocs...),
		plan.InOut(binary.LittleEndian.AppendUint32(nil, uint32(id))))
}

// clock is the timer's, of which a CPU clock holds a PID.
func (t posixTimer) clock() plan.Arg {
	if pid := cpuClockPID(t.Clock); t.Clock < 0 && pid != 0 {
		return plan.CPUClock(pid, t.Clock&cpuClockMask)
	}
	return plan.Int(t.Clock)
}

// arm starts a timer. One whose signal was waiting is started for its last
// expiry before now: it expires at once, keeps its phase, and counts overruns
// until the signal is taken.
func (t posixTimer) arm(h *kind.Host) (plan.Call, bool) {
	spec := abi.Itimerspec{Interval: timespec(t.Interval), Value: timespec(t.Left)}
	if !t.Fired {
		return inTask(h, unix.SYS_TIMER_SETTIME, plan.Int(t.ID), plan.Int(0), plan.Buf(spec.Encode()), plan.Int(0)), t.Left != 0
	}
	back := int64(0)
	if t.Left > 0 && t.Interval > 0 {
		back = min(t.Left-t.Interval, 0)
	}
	return inTask(h, unix.SYS_TIMER_SETTIME, plan.Int(t.ID), plan.Int(unix.TIMER_ABSTIME),
		plan.Buf(spec.Encode(), plan.Reloc{Off: abi.SizeofTimespec, Size: 16, Arg: plan.Now(int(t.Clock), back)}), plan.Int(0)), true
}
