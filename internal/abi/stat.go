package abi

import "bytes"

// Stat is /proc/PID/stat (proc_pid_stat(5); do_task_stat in fs/proc/array.c).
// The address and exit code fields read 0 for a reader without ptrace access.
type Stat struct {
	Pid       int32
	Comm      string // may hold blanks, parentheses and newlines
	State     byte
	PPid      int32
	Pgrp      int32
	Session   int32
	TTY       int32  // device number of the controlling terminal, 0 without one
	TPgid     int32  // foreground process group of the terminal, -1 without one
	Flags     uint32 // PF_*
	MinFlt    uint64
	CMinFlt   uint64
	MajFlt    uint64
	CMajFlt   uint64
	UTime     uint64 // clock ticks, as the next three
	STime     uint64
	CUTime    int64
	CSTime    int64
	Priority  int64
	Nice      int64
	Threads   int64
	StartTime uint64 // clock ticks after boot: with Pid, the identity of a process
	VSize     uint64
	RSS       int64  // pages
	RSSLimit  uint64 // bytes
	StartCode uint64
	EndCode   uint64
	StartStk  uint64 // start_stack: the bottom (highest address) at exec
	ExitSig   int32  // signal to the parent at death
	Processor int32
	RTPrio    uint32
	Policy    uint32 // SCHED_*
	DelayIO   uint64
	GuestTime uint64
	CGuest    int64
	StartData uint64
	EndData   uint64
	StartBrk  uint64
	ArgStart  uint64
	ArgEnd    uint64
	EnvStart  uint64
	EnvEnd    uint64
	ExitCode  uint32 // as wait4 reports it; valid for a zombie
	Unknown   []string
}

// PF_* bits of Stat.Flags (include/linux/sched.h).
const (
	PFExiting    = 0x00000004
	PFKthread    = 0x00200000
	PFForkNoExec = 0x00000040
)

// ParseStat reads a stat line.
func ParseStat(text []byte) (*Stat, error) {
	s := new(Stat)
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open || !scanInt32(text[:open-1], &s.Pid) {
		return nil, syntax("stat", text, "no pid and name")
	}
	s.Comm = string(text[open+1 : end])
	var room [64][]byte
	f := appendFields(room[:0], bytes.TrimSuffix(text[end+1:], []byte{'\n'}))
	if len(f) < 50 {
		return nil, syntax("stat", text, "fewer fields than Linux 3.5 has")
	}
	s.State = f[0][0]
	for i, p := range s.places() {
		if !store(f[i+1], p) {
			return nil, syntax("stat", f[i+1], "not a number")
		}
	}
	for _, more := range f[50:] {
		s.Unknown = append(s.Unknown, string(more))
	}
	return s, nil
}

// places lists where fields 4 to 52 go; nil for those without meaning since
// Linux 2.6 (itrealvalue, kstkesp and kstkeip of a running task, the signal
// masks that status has in full, wchan, nswap, cnswap).
func (s *Stat) places() []any {
	return []any{
		&s.PPid, &s.Pgrp, &s.Session, &s.TTY, &s.TPgid, &s.Flags,
		&s.MinFlt, &s.CMinFlt, &s.MajFlt, &s.CMajFlt,
		&s.UTime, &s.STime, &s.CUTime, &s.CSTime,
		&s.Priority, &s.Nice, &s.Threads, nil, &s.StartTime,
		&s.VSize, &s.RSS, &s.RSSLimit, &s.StartCode, &s.EndCode, &s.StartStk,
		nil, nil, nil, nil, nil, nil, nil, nil, nil,
		&s.ExitSig, &s.Processor, &s.RTPrio, &s.Policy,
		&s.DelayIO, &s.GuestTime, &s.CGuest,
		&s.StartData, &s.EndData, &s.StartBrk,
		&s.ArgStart, &s.ArgEnd, &s.EnvStart, &s.EnvEnd, &s.ExitCode,
	}
}

// store parses a decimal number into the integer that p points to.
func store(b []byte, p any) bool {
	switch p := p.(type) {
	case *int32:
		return scanInt32(b, p)
	case *uint32:
		return scan(b, 10, p)
	case *uint64:
		return scan(b, 10, p)
	case *int64:
		n, ok := parseInt(b)
		*p = n
		return ok
	}
	return true
}
