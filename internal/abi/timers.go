package abi

import "bytes"

// PosixTimer is one timer of /proc/PID/timers (proc_pid_timers(5);
// show_timer in fs/proc/base.c).
type PosixTimer struct {
	ID     int32
	Signal int32
	Value  uint64 // sigev_value
	Notify int32  // SigevSignal or SigevNone, with SigevThreadID if to a thread
	Target int32  // the process, or the thread, that is notified
	Clock  int32  // may be negative: a CPU clock of a process or thread
}

// sigev_notify values (asm-generic/siginfo.h). The kernel itself does not tell
// SigevThread, which the C library implements, from a signal.
const (
	SigevSignal   = 0
	SigevNone     = 1
	SigevThread   = 2
	SigevThreadID = 4
)

// ParseTimers reads the whole text of /proc/PID/timers, which lists the newest
// timer first.
func ParseTimers(text []byte) ([]PosixTimer, error) {
	var out []PosixTimer
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, val, ok := bytes.Cut(line, []byte(": "))
		if string(key) == "ID" {
			out = append(out, PosixTimer{})
		}
		if !ok || len(out) == 0 || !out[len(out)-1].set(string(key), val) {
			return nil, syntax("timers", line, "not a line of a timer")
		}
	}
	return out, nil
}

func (t *PosixTimer) set(key string, val []byte) bool {
	switch key {
	case "ID":
		return scanInt32(val, &t.ID)
	case "signal":
		signal, value, ok := bytes.Cut(val, []byte{'/'})
		return ok && scanInt32(signal, &t.Signal) && scan(bytes.TrimPrefix(value, []byte("0x")), 16, &t.Value)
	case "notify":
		return t.setNotify(val)
	case "ClockID":
		return scanInt32(val, &t.Clock)
	}
	return false
}

// setNotify reads "signal/tid.1234".
func (t *PosixTimer) setNotify(val []byte) bool {
	how, whom, _ := bytes.Cut(val, []byte{'/'})
	sort, id, _ := bytes.Cut(whom, []byte{'.'})
	switch string(how) {
	case "signal":
		t.Notify = SigevSignal
	case "none":
		t.Notify = SigevNone
	case "thread":
		t.Notify = SigevThread
	default:
		return false
	}
	if string(sort) == "tid" {
		t.Notify |= SigevThreadID
	}
	return scanInt32(id, &t.Target)
}
