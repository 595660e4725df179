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

// timerfdRecord holds times in nanoseconds.
type timerfdRecord struct {
	Clock    int32  `cbor:"1,keyasint"` // CLOCK_*
	NonBlock bool   `cbor:"2,keyasint,omitempty"`
	Flags    uint32 `cbor:"3,keyasint,omitempty"` // TFD_TIMER_* of the last timerfd_settime(2)
	Interval int64  `cbor:"4,keyasint,omitempty"`
	// Value is the time left, or for an absolute timer that is armed the
	// time on its clock. 0: not armed, or expired and not periodic.
	Value int64  `cbor:"5,keyasint,omitempty"`
	Ticks uint64 `cbor:"6,keyasint,omitempty"` // expirations not yet read
}

const (
	tfdAbsolute = 1 // TFD_TIMER_ABSTIME
	tfdCancel   = 2 // TFD_TIMER_CANCEL_ON_SET
)

// Timerfd claims timerfds. A relative timer stands still from the dump to the
// restore, as the program does; an absolute one stays at its date.
func Timerfd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, timerfdRecord]{
		Name:   "timerfd",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classTimerfd),
		Dump:   dumpTimerfd,
		Check:  checkTimerfd,
		Plan:   planTimerfd,
	})
}

func dumpTimerfd(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (timerfdRecord, error) {
	if err := onlyFlags(f, unix.O_RDWR|unix.O_NONBLOCK|unix.O_ASYNC); err != nil {
		return timerfdRecord{}, err
	}
	if f.Info.Timerfd == nil {
		return timerfdRecord{}, errors.New("fdinfo shows no clock")
	}
	t, date, err := timerNow(f)
	if err != nil {
		return timerfdRecord{}, err
	}
	r := timerfdRecord{Clock: t.ClockID, NonBlock: nonBlock(f), Flags: t.Flags, Interval: nanos(t.Interval), Value: nanos(t.Value), Ticks: t.Ticks}
	if r.Flags&tfdCancel != 0 && r.Ticks != 0 {
		return r, kind.Unsupportedf("a timer that ends when the clock is set, and may just have been ended so")
	}
	if r.Flags&tfdAbsolute != 0 && r.Value != 0 {
		r.Value = date
	}
	return r, nil
}

// timerNow gives the state of the timer, and the time on its clock when it
// will expire. Where the next period of a timer that has expired is not yet
// running, it tries again: timeLeft starts it.
func timerNow(f *kind.FileSite) (t *abi.TimerfdInfo, date int64, err error) {
	for range 10 {
		left, err := timeLeft(f)
		if err != nil {
			return nil, 0, err
		}
		now, err := clock(f.Do, f.Info.Timerfd.ClockID)
		if err != nil {
			return nil, 0, err
		}
		if t, err = timerfdInfo(f); err != nil {
			return nil, 0, err
		}
		if date = now + nanos(left); !t.Value.IsZero() || t.Interval.IsZero() || left.IsZero() {
			return t, date, nil
		}
	}
	t.Value.Nsec = 1 // it expires faster than it can be looked at
	return t, date, nil
}

// timeLeft is timerfd_gettime(2). It counts the periods of a timer that has
// expired and starts the present one, as a read would have, so that neither
// the phase is lost nor a tick.
func timeLeft(f *kind.FileSite) (abi.Timespec, error) {
	r, err := f.Do(plan.Call{Nr: unix.SYS_TIMERFD_GETTIME, Args: []plan.Arg{self(f), plan.Out(abi.SizeofItimerspec)}})
	if err != nil {
		return abi.Timespec{}, fmt.Errorf("asking for the time left: %w", err)
	}
	return abi.DecodeItimerspec(r.Out[0]).Value, nil
}

// timerfdInfo reads fdinfo again: its ticks are those after timeLeft counted.
func timerfdInfo(f *kind.FileSite) (*abi.TimerfdInfo, error) {
	text, err := readFile(f.Do, fmt.Sprintf("/proc/%d/fdinfo/%d", f.Task.PID, f.Num))
	if err != nil {
		return nil, err
	}
	info, err := abi.ParseFDInfo(text)
	if err == nil && info.Timerfd == nil {
		err = fmt.Errorf("descriptor %d is no longer a timerfd", f.Num)
	}
	return info.Timerfd, err
}

// clock reads the clock of a timer; an alarm clock shows the time of the one
// that it is made of.
func clock(do kind.Doer, id int32) (int64, error) {
	switch id {
	case unix.CLOCK_REALTIME_ALARM:
		id = unix.CLOCK_REALTIME
	case unix.CLOCK_BOOTTIME_ALARM:
		id = unix.CLOCK_BOOTTIME
	}
	r, err := do(plan.Call{Nr: unix.SYS_CLOCK_GETTIME, Args: []plan.Arg{plan.Int(id), plan.Out(abi.SizeofTimespec)}})
	if err != nil {
		return 0, fmt.Errorf("reading clock %d: %w", id, err)
	}
	return nanos(abi.DecodeTimespec(r.Out[0])), nil
}

func checkTimerfd(r timerfdRecord) error {
	switch r.Clock {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
	default:
		return fmt.Errorf("clock %d", r.Clock)
	}
	if r.Flags&^(tfdAbsolute|tfdCancel) != 0 || r.Interval < 0 || r.Value < 0 {
		return fmt.Errorf("flags %#x, value %d, interval %d", r.Flags, r.Value, r.Interval)
	}
	return nil
}

func planTimerfd(r timerfdRecord, h *kind.Host) []plan.Step {
	steps := []plan.Step{createTimerfd(r, h)}
	if r.Ticks != 0 {
		// It is readable from now on for an epoll that looks at it; arming
		// clears the ticks (timerfd_setup in fs/timerfd.c).
		steps = append(steps, oneStep(plan.Fill, "mark the timerfd expired", setTicks(r, h))...)
	}
	if r.Value == 0 && r.Flags == 0 && r.Interval == 0 {
		return steps
	}
	arm := plan.Step{Stage: plan.Arm, Text: "arm the timerfd", Ops: []plan.Op{settime(r, h)}}
	if r.Ticks != 0 {
		arm.Ops = append(arm.Ops, setTicks(r, h))
	}
	return append(steps, arm)
}

func createTimerfd(r timerfdRecord, h *kind.Host) plan.Step {
	flags := unix.TFD_CLOEXEC
	if r.NonBlock {
		flags |= unix.TFD_NONBLOCK
	}
	s := plan.Step{Stage: plan.Create, Text: "make a timerfd", Ops: []plan.Op{plan.Call{
		Nr: unix.SYS_TIMERFD_CREATE, Args: []plan.Arg{plan.Int(r.Clock), plan.Int(flags)}, Out: h.Self}}}
	if r.Clock == unix.CLOCK_REALTIME_ALARM || r.Clock == unix.CLOCK_BOOTTIME_ALARM {
		s.Needs = []plan.Need{{Demand: "cap:wake_alarm", Why: "the timer wakes the machine up"}}
	}
	return s
}

func settime(r timerfdRecord, h *kind.Host) plan.Call {
	spec := abi.Itimerspec{Interval: timespec(r.Interval), Value: timespec(r.Value)}
	return plan.Call{Nr: unix.SYS_TIMERFD_SETTIME, Args: []plan.Arg{
		plan.FD(h.Self), plan.Int(r.Flags), plan.Buf(spec.Encode()), plan.Int(0)}, Ret: plan.Exactly(0)}
}

func setTicks(r timerfdRecord, h *kind.Host) plan.Call {
	return plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{
		plan.FD(h.Self), plan.Int(abi.TFDIocSetTicks), plan.Buf(binary.LittleEndian.AppendUint64(nil, r.Ticks))}, Ret: plan.Exactly(0)}
}

func nanos(t abi.Timespec) int64 { return t.Sec*1e9 + t.Nsec }

func timespec(ns int64) abi.Timespec { return abi.Timespec{Sec: ns / 1e9, Nsec: ns % 1e9} }
