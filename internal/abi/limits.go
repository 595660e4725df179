package abi

import "golang.org/x/sys/unix"

// Rlimit is a soft and a hard limit; RlimInfinity is no limit.
type Rlimit struct{ Cur, Max uint64 }

// RlimInfinity is RLIM64_INFINITY.
const RlimInfinity = ^uint64(0)

// RlimitCount is RLIM_NLIMITS: resources are numbered from 0 to 15.
const RlimitCount = 16

// Limits is /proc/PID/limits, indexed by unix.RLIMIT_*.
type Limits [RlimitCount]Rlimit

// SizeofRlimit is the size of struct rlimit64.
const SizeofRlimit = 16

// Encode gives the 16 bytes of struct rlimit64.
func (r Rlimit) Encode() []byte { return words(r.Cur, r.Max) }

// DecodeRlimit reads the first 16 bytes of b.
func DecodeRlimit(b []byte) Rlimit { return Rlimit{uint64(word(b, 0)), uint64(word(b, 1))} }

// limitWidth is the width of the name column (lnames in fs/proc/base.c).
const limitWidth = 26

// ParseLimits reads the whole text of /proc/PID/limits. A resource that is
// not there or that is not known is an error: there are 16 since Linux 2.6.25.
func ParseLimits(text []byte) (l Limits, err error) {
	_, text = cutLine(text)
	var seen uint32
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if len(line) < limitWidth {
			return l, syntax("limits", line, "short line")
		}
		n := limitNumber(string(line[:limitWidth]))
		f := fields(line[limitWidth:])
		if n < 0 || len(f) < 2 || !scanLimit(f[0], &l[n].Cur) || !scanLimit(f[1], &l[n].Max) {
			return l, syntax("limits", line, "not a limit")
		}
		seen |= 1 << n
	}
	if seen != 1<<RlimitCount-1 {
		return l, syntax("limits", nil, "not all limits")
	}
	return l, nil
}

func scanLimit(b []byte, dst *uint64) bool {
	if string(b) == "unlimited" {
		*dst = RlimInfinity
		return true
	}
	return scan(b, 10, dst)
}

func limitNumber(column string) int {
	switch column {
	case "Max cpu time              ":
		return unix.RLIMIT_CPU
	case "Max file size             ":
		return unix.RLIMIT_FSIZE
	case "Max data size             ":
		return unix.RLIMIT_DATA
	case "Max stack size            ":
		return unix.RLIMIT_STACK
	case "Max core file size        ":
		return unix.RLIMIT_CORE
	case "Max resident set          ":
		return unix.RLIMIT_RSS
	case "Max processes             ":
		return unix.RLIMIT_NPROC
	case "Max open files            ":
		return unix.RLIMIT_NOFILE
	case "Max locked memory         ":
		return unix.RLIMIT_MEMLOCK
	case "Max address space         ":
		return unix.RLIMIT_AS
	case "Max file locks            ":
		return unix.RLIMIT_LOCKS
	case "Max pending signals       ":
		return unix.RLIMIT_SIGPENDING
	case "Max msgqueue size         ":
		return unix.RLIMIT_MSGQUEUE
	case "Max nice priority         ":
		return unix.RLIMIT_NICE
	case "Max realtime priority     ":
		return unix.RLIMIT_RTPRIO
	case "Max realtime timeout      ":
		return unix.RLIMIT_RTTIME
	}
	return -1
}
