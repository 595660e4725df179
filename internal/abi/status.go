package abi

import (
	"bytes"
	"strings"
)

// IDs are the four user or group ids of a thread, in the order of
// /proc/PID/status.
type IDs struct{ Real, Effective, Saved, FS uint32 }

// All says whether the four are equal to id.
func (i IDs) All(id uint32) bool { return i == IDs{id, id, id, id} }

// Status is /proc/PID/status or /proc/PID/task/TID/status
// (proc_pid_status(5); fs/proc/array.c). Ids and PIDs are as the reader's
// namespaces show them. Sizes are in bytes. A zombie or a kernel thread lacks
// the lines about memory, and their fields are zero.
type Status struct {
	Name     string // the comm, unescaped
	Umask    uint32 // valid if HasUmask: a zombie has none
	HasUmask bool
	State    byte // R S D T t X Z P I
	Tgid     int32
	Ngid     int32
	Pid      int32
	PPid     int32
	Tracer   int32 // TracerPid, 0 when untraced
	UID, GID IDs
	FDSize   uint32 // slots of the descriptor table
	Groups   []uint32
	// The numbers of the thread group, thread, process group and session in
	// each PID namespace, from the reader's to the innermost.
	NStgid, NSpid, NSpgid, NSsid []int32

	Kthread     bool
	HasMM       bool // the Vm lines were there
	VmPeak      uint64
	VmSize      uint64
	VmLck       uint64
	VmPin       uint64
	VmHWM       uint64
	VmRSS       uint64
	RssAnon     uint64
	RssFile     uint64
	RssShmem    uint64
	VmData      uint64
	VmStk       uint64
	VmExe       uint64
	VmLib       uint64
	VmPTE       uint64
	VmSwap      uint64
	Hugetlb     uint64 // HugetlbPages
	CoreDumping bool
	THPEnabled  bool // false after PR_SET_THP_DISABLE
	UntagMask   uint64
	X86Features string // x86_Thread_features: "shstk wrss"
	X86Locked   string // x86_Thread_features_locked

	Threads   int32
	SigQueued uint64 // SigQ: signals queued for the real user,
	SigQLimit uint64 // and how many may be
	SigPnd    SigSet // pending for the thread
	ShdPnd    SigSet // pending for the process
	SigBlk    SigSet
	SigIgn    SigSet
	SigCgt    SigSet

	CapInh, CapPrm, CapEff, CapBnd, CapAmb CapSet

	NoNewPrivs     bool
	Seccomp        uint32 // 0 off, 1 strict, 2 filter
	SeccompFilters uint32

	SpecStoreBypass    string // Speculation_Store_Bypass: "thread vulnerable"
	SpecIndirectBranch string // SpeculationIndirectBranch: "conditional enabled"

	CpusAllowed     string // mask, groups of hexadecimal digits
	CpusAllowedList string // "0-3,8"
	MemsAllowed     string
	MemsAllowedList string

	VoluntarySwitches    uint64
	NonvoluntarySwitches uint64

	Unknown []string // lines that this package does not know
}

// ParseStatus reads the whole text of a status file.
func ParseStatus(text []byte) (*Status, error) {
	s := new(Status)
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, val, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			return nil, syntax("status", line, "no key")
		}
		known, ok := s.set(string(key), trimLeft(val))
		if !known {
			s.Unknown = append(s.Unknown, string(line))
		} else if !ok {
			return nil, syntax("status", line, "not a value of this line")
		}
	}
	if s.Pid == 0 {
		return nil, syntax("status", text, "no Pid line")
	}
	return s, nil
}

// set stores one line: in a number, in a size, or by one of the setters
// below. It says whether the key is known and whether the value fits it.
func (s *Status) set(key string, val []byte) (known, ok bool) {
	if p := s.size(key); p != nil {
		s.HasMM = true
		return true, scanKB(val, p)
	}
	if p := s.mask(key); p != nil {
		return true, scan(val, 16, p)
	}
	if p := s.text(key); p != nil {
		*p = string(val)
		return true, true
	}
	if p := s.pid(key); p != nil {
		return true, scanInt32(val, p)
	}
	if p := s.pids(key); p != nil {
		return true, scanInt32s(val, p)
	}
	if p := s.flag(key); p != nil {
		*p = string(val) == "1"
		return true, len(val) == 1
	}
	return s.setOther(key, val)
}

func (s *Status) setOther(key string, val []byte) (known, ok bool) {
	switch key {
	case "Name":
		s.Name = statusNames.Replace(string(val))
		return true, true
	case "State":
		ok = len(val) > 0
		if ok {
			s.State = val[0]
		}
		return true, ok
	case "Umask":
		s.HasUmask = true
		return true, scan(val, 8, &s.Umask)
	case "Uid":
		return true, scanIDs(val, &s.UID)
	case "Gid":
		return true, scanIDs(val, &s.GID)
	case "Groups":
		return true, scanGroups(val, &s.Groups)
	case "SigQ":
		used, limit, found := bytes.Cut(val, []byte{'/'})
		return true, found && scan(used, 10, &s.SigQueued) && scan(limit, 10, &s.SigQLimit)
	case "FDSize":
		return true, scan(val, 10, &s.FDSize)
	case "Seccomp":
		return true, scan(val, 10, &s.Seccomp)
	case "Seccomp_filters":
		return true, scan(val, 10, &s.SeccompFilters)
	case "untag_mask":
		return true, scan(bytes.TrimPrefix(val, []byte("0x")), 16, &s.UntagMask)
	case "voluntary_ctxt_switches":
		return true, scan(val, 10, &s.VoluntarySwitches)
	case "nonvoluntary_ctxt_switches":
		return true, scan(val, 10, &s.NonvoluntarySwitches)
	}
	return false, false
}

// statusNames undoes seq_escape_str(ESCAPE_SPACE|ESCAPE_SPECIAL, "\n\\"),
// which proc_task_name applies to the comm in status.
var statusNames = strings.NewReplacer(`\n`, "\n", `\\`, `\`)

func (s *Status) size(key string) *uint64 {
	switch key {
	case "VmPeak":
		return &s.VmPeak
	case "VmSize":
		return &s.VmSize
	case "VmLck":
		return &s.VmLck
	case "VmPin":
		return &s.VmPin
	case "VmHWM":
		return &s.VmHWM
	case "VmRSS":
		return &s.VmRSS
	case "RssAnon":
		return &s.RssAnon
	case "RssFile":
		return &s.RssFile
	case "RssShmem":
		return &s.RssShmem
	case "VmData":
		return &s.VmData
	case "VmStk":
		return &s.VmStk
	case "VmExe":
		return &s.VmExe
	case "VmLib":
		return &s.VmLib
	case "VmPTE":
		return &s.VmPTE
	case "VmSwap":
		return &s.VmSwap
	case "HugetlbPages":
		return &s.Hugetlb
	}
	return nil
}

func (s *Status) mask(key string) *uint64 {
	switch key {
	case "SigPnd":
		return (*uint64)(&s.SigPnd)
	case "ShdPnd":
		return (*uint64)(&s.ShdPnd)
	case "SigBlk":
		return (*uint64)(&s.SigBlk)
	case "SigIgn":
		return (*uint64)(&s.SigIgn)
	case "SigCgt":
		return (*uint64)(&s.SigCgt)
	case "CapInh":
		return (*uint64)(&s.CapInh)
	case "CapPrm":
		return (*uint64)(&s.CapPrm)
	case "CapEff":
		return (*uint64)(&s.CapEff)
	case "CapBnd":
		return (*uint64)(&s.CapBnd)
	case "CapAmb":
		return (*uint64)(&s.CapAmb)
	}
	return nil
}

func (s *Status) text(key string) *string {
	switch key {
	case "Speculation_Store_Bypass":
		return &s.SpecStoreBypass
	case "SpeculationIndirectBranch":
		return &s.SpecIndirectBranch
	case "Cpus_allowed":
		return &s.CpusAllowed
	case "Cpus_allowed_list":
		return &s.CpusAllowedList
	case "Mems_allowed":
		return &s.MemsAllowed
	case "Mems_allowed_list":
		return &s.MemsAllowedList
	case "x86_Thread_features":
		return &s.X86Features
	case "x86_Thread_features_locked":
		return &s.X86Locked
	}
	return nil
}

func (s *Status) pid(key string) *int32 {
	switch key {
	case "Tgid":
		return &s.Tgid
	case "Ngid":
		return &s.Ngid
	case "Pid":
		return &s.Pid
	case "PPid":
		return &s.PPid
	case "TracerPid":
		return &s.Tracer
	case "Threads":
		return &s.Threads
	}
	return nil
}

func (s *Status) pids(key string) *[]int32 {
	switch key {
	case "NStgid":
		return &s.NStgid
	case "NSpid":
		return &s.NSpid
	case "NSpgid":
		return &s.NSpgid
	case "NSsid":
		return &s.NSsid
	}
	return nil
}

func (s *Status) flag(key string) *bool {
	switch key {
	case "Kthread":
		return &s.Kthread
	case "CoreDumping":
		return &s.CoreDumping
	case "THP_enabled":
		return &s.THPEnabled
	case "NoNewPrivs":
		return &s.NoNewPrivs
	}
	return nil
}
