package kinds

import (
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/plan"
)

func timerfd(t *testing.T, clock, flags int, value, interval time.Duration) int {
	t.Helper()
	fd := must(unix.TimerfdCreate(clock, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK))(t)
	t.Cleanup(func() { unix.Close(fd) })
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(value)), Interval: unix.NsecToTimespec(int64(interval))}
	if err := unix.TimerfdSettime(fd, flags, &spec, nil); err != nil {
		t.Fatal(err)
	}
	return fd
}

func now(clock int32) time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(clock, &ts)
	return time.Duration(ts.Nano())
}

func TestTimerfd(t *testing.T) {
	for name, c := range map[string]struct {
		clock, flags    int
		value, interval time.Duration
	}{
		"idle":              {unix.CLOCK_MONOTONIC, 0, 0, 0},
		"disarmed":          {unix.CLOCK_MONOTONIC, 0, 0, time.Second},
		"once":              {unix.CLOCK_REALTIME, 0, time.Hour, 0},
		"periodic":          {unix.CLOCK_BOOTTIME, 0, time.Minute, time.Hour},
		"date":              {unix.CLOCK_REALTIME, tfdAbsolute, now(unix.CLOCK_REALTIME) + time.Hour, 0},
		"date, cancellable": {unix.CLOCK_REALTIME, tfdAbsolute | tfdCancel, now(unix.CLOCK_REALTIME) + time.Hour, time.Minute},
		"expired":           {unix.CLOCK_MONOTONIC, 0, 1, 0},
		"expired date":      {unix.CLOCK_MONOTONIC, tfdAbsolute, 1, 0},
		"expired often":     {unix.CLOCK_MONOTONIC, 0, 2 * time.Millisecond, 700 * time.Millisecond},
	} {
		w := newWorld(t)
		fd := timerfd(t, c.clock, c.flags, c.value, c.interval)
		time.Sleep(5 * time.Millisecond)
		f := w.add(fd)
		r := *w.record(Timerfd(), f).(*timerfdRecord)
		if c.flags&tfdAbsolute != 0 && r.Value != 0 && math.Abs(float64(r.Value)-float64(c.value)) > 1e6 {
			t.Errorf("%s: dated %d, was %d", name, r.Value, c.value)
		}
		w.restore(f)
		a, b := infoOf(t, fd).Timerfd, infoOf(t, w.fd(f.Ref().Main())).Timerfd
		if drift := math.Abs(float64(nanos(a.Value) - nanos(b.Value))); drift > 50e6 {
			t.Errorf("%s: %v left, was to be %v", name, b.Value, a.Value)
		}
		if a.Value, b.Value = (abi.Timespec{}), (abi.Timespec{}); *a != *b {
			t.Errorf("%s: %+v, was %+v", name, b, a)
		}
	}
}

func TestTimerfdLosesNoTick(t *testing.T) {
	w := newWorld(t)
	fd := timerfd(t, unix.CLOCK_MONOTONIC, 0, 10*time.Millisecond, 10*time.Millisecond)
	time.Sleep(55 * time.Millisecond)
	f := w.add(fd)
	if f.Info.Timerfd.Ticks != 1 {
		t.Fatalf("fdinfo shows %d ticks; this test is about one that is not yet counted", f.Info.Timerfd.Ticks)
	}
	r := w.record(Timerfd(), f).(*timerfdRecord)
	if r.Ticks < 5 || r.Value == 0 || r.Value > 10e6 {
		t.Errorf("%d ticks, next in %d ns", r.Ticks, r.Value)
	}
}

func TestTimerfdRefusals(t *testing.T) {
	w := newWorld(t)
	f := w.add(timerfd(t, unix.CLOCK_REALTIME, tfdAbsolute|tfdCancel, 1, 0))
	time.Sleep(time.Millisecond)
	w.refused(f)
	for _, r := range []timerfdRecord{{Clock: 2}, {Flags: 4}, {Interval: -1}, {Value: -1}} {
		if checkTimerfd(r) == nil {
			t.Errorf("%+v accepted", r)
		}
	}
	if s := planTimerfd(timerfdRecord{Clock: unix.CLOCK_BOOTTIME_ALARM}, hostOf(1)); len(s[0].Needs) != 1 || s[0].Stage != plan.Create {
		t.Errorf("an alarm clock needs %v", s[0].Needs)
	}
}
