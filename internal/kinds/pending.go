package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type pendingRecord struct {
	Private []pendingSignal `cbor:"1,keyasint,omitempty"` // in the order of arrival
	Shared  []pendingSignal `cbor:"2,keyasint,omitempty"` // the process's; only the leader has them
}

// pendingSignal is a siginfo_t (sigaction(2)); which fields mean something
// depends on Signal and Code.
type pendingSignal struct {
	Signal    uint8        `cbor:"1,keyasint"`
	Errno     int32        `cbor:"2,keyasint,omitempty"`
	Code      int32        `cbor:"3,keyasint,omitempty"`
	PID       kind.PID     `cbor:"4,keyasint,omitempty"`
	UID       *credmap.UID `cbor:"5,keyasint,omitempty"` // of the sender; nil: there is none
	Value     uint64       `cbor:"6,keyasint,omitempty"`
	TimerID   int32        `cbor:"7,keyasint,omitempty"`
	Overrun   int32        `cbor:"8,keyasint,omitempty"`
	Status    int32        `cbor:"9,keyasint,omitempty"`
	Utime     int64        `cbor:"10,keyasint,omitempty"`
	Stime     int64        `cbor:"11,keyasint,omitempty"`
	Addr      uint64       `cbor:"12,keyasint,omitempty"`
	Lower     uint64       `cbor:"13,keyasint,omitempty"`
	Upper     uint64       `cbor:"14,keyasint,omitempty"`
	Pkey      uint32       `cbor:"15,keyasint,omitempty"`
	AddrLSB   int16        `cbor:"16,keyasint,omitempty"`
	PerfData  uint64       `cbor:"17,keyasint,omitempty"`
	PerfType  uint32       `cbor:"18,keyasint,omitempty"`
	PerfFlags uint32       `cbor:"19,keyasint,omitempty"`
	Band      int64        `cbor:"20,keyasint,omitempty"`
	FD        int32        `cbor:"21,keyasint,omitempty"`
	Syscall   int32        `cbor:"22,keyasint,omitempty"`
	Arch      uint32       `cbor:"23,keyasint,omitempty"`
}

// Pending keeps the signals that wait for a thread or, with its leader, for
// the process. They are queued again at the stage after signal actions: an
// action that ignores its signal throws away what is queued of it.
//
// Only a thread itself may queue a signal that looks like the kernel's
// (si_code >= 0), so all of this runs in the thread that has them.
func Pending() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, pendingRecord]{
		Name:  "pending",
		At:    plan.Thread,
		Match: hasPending,
		Dump:  dumpPending,
		Check: pendingRecord.check,
		Plan:  pendingRecord.plan,
	})
}

func hasPending(t *kind.ThreadSite) bool {
	return t.Status.SigPnd != 0 || t.Leader && t.Status.ShdPnd != 0
}

func dumpPending(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (r pendingRecord, err error) {
	if r.Private, err = queueOf(t.Task, t.Pending, t.Status.SigPnd); err != nil || !t.Leader {
		return r, err
	}
	r.Shared, err = queueOf(t.Task, t.Shared, t.Status.ShdPnd)
	return r, err
}

// queueOf lists a queue, and after it the signals of set that are not in it:
// the kernel drops the siginfo of a legacy signal when the user has too many
// queued, and delivers it as one of no process.
func queueOf(task *kind.TaskSite, queue []abi.Siginfo, set abi.SigSet) ([]pendingSignal, error) {
	var out []pendingSignal
	if set.Has(int(unix.SIGKILL)) || set.Has(int(unix.SIGSTOP)) {
		return nil, &kind.Unsupported{Why: "it is about to be killed or stopped", Hint: "try again"}
	}
	fired, err := firedTimers(task)
	if err != nil {
		return nil, err
	}
	for _, s := range queue {
		set &^= abi.SigSetOf(int(s.Signo))
		if s.Code == abi.SITimer && fired[s.TimerID] {
			continue
		}
		out = append(out, pendingOf(s))
	}
	for _, n := range set.Signals() {
		out = append(out, pendingSignal{Signal: uint8(n)})
	}
	return out, nil
}

func pendingOf(s abi.Siginfo) pendingSignal {
	return pendingSignal{Signal: uint8(s.Signo), Errno: s.Errno, Code: s.Code, PID: kind.PID(s.PID),
		UID: senderOf(s), Value: s.Value, TimerID: s.TimerID, Overrun: s.Overrun, Status: s.Status,
		Utime: s.Utime, Stime: s.Stime, Addr: s.Addr, Lower: s.Lower, Upper: s.Upper, Pkey: s.Pkey,
		AddrLSB: s.AddrLSB, PerfData: s.Perf.Data, PerfType: s.Perf.Type, PerfFlags: s.Perf.Flags,
		Band: s.Band, FD: s.FD, Syscall: s.Syscall, Arch: s.Arch}
}

// senderOf is the user who sent a signal. One of the kernel's own is from
// process 0 and user 0, who are nobody.
func senderOf(s abi.Siginfo) *credmap.UID {
	switch s.Layout() {
	case abi.SiginfoKill, abi.SiginfoChild, abi.SiginfoQueue:
		if s.PID != 0 || s.UID != 0 {
			uid := credmap.UID(s.UID)
			return &uid
		}
	}
	return nil
}

func (p pendingSignal) siginfo() abi.Siginfo {
	var uid uint32
	if p.UID != nil {
		uid = uint32(*p.UID)
	}
	return abi.Siginfo{Signo: int32(p.Signal), Errno: p.Errno, Code: p.Code, PID: int32(p.PID),
		UID: uid, Value: p.Value, TimerID: p.TimerID, Overrun: p.Overrun, Status: p.Status,
		Utime: p.Utime, Stime: p.Stime, Addr: p.Addr, Lower: p.Lower, Upper: p.Upper, Pkey: p.Pkey,
		AddrLSB: p.AddrLSB, Perf: abi.PerfSiginfo{Data: p.PerfData, Type: p.PerfType, Flags: p.PerfFlags},
		Band: p.Band, FD: p.FD, Syscall: p.Syscall, Arch: p.Arch}
}

// maxPending bounds a queue; the kernel's bound is RLIMIT_SIGPENDING.
const maxPending = 1 << 16

func (r pendingRecord) check() error {
	if len(r.Private)+len(r.Shared) > maxPending {
		return fmt.Errorf("%d pending signals", len(r.Private)+len(r.Shared))
	}
	for _, q := range [][]pendingSignal{r.Private, r.Shared} {
		for _, p := range q {
			if p.Signal == 0 || p.Signal > maxSignal || p.Signal == uint8(unix.SIGKILL) || p.Signal == uint8(unix.SIGSTOP) {
				return fmt.Errorf("pending signal %d", p.Signal)
			}
		}
	}
	return nil
}

// The numbers that a thread asks for its own.
const (
	ownPIDSlot = 202
	ownTIDSlot = 203
)

// plan lets the thread ask who it is: an image that could name the receiver
// could have signals sent to anybody. For the process's signals that thread
// is the leader, lest the kernel refuse.
func (r pendingRecord) plan(h *kind.Host) []plan.Step {
	pid := plan.Ref{Site: h.Self.Site, ID: h.Self.ID, Slot: ownPIDSlot}
	tid := plan.Ref{Site: h.Self.Site, ID: h.Self.ID, Slot: ownTIDSlot}
	getpid, gettid := inTask(h, unix.SYS_GETPID), inTask(h, unix.SYS_GETTID)
	getpid.Out, gettid.Out = pid, tid
	ops := []plan.Op{getpid, gettid}
	for _, p := range r.Private {
		ops = append(ops, inTask(h, unix.SYS_RT_TGSIGQUEUEINFO,
			plan.ResultOf(pid), plan.ResultOf(tid), plan.Int(p.Signal), p.arg(h)))
	}
	for _, p := range r.Shared {
		ops = append(ops, inTask(h, unix.SYS_RT_SIGQUEUEINFO, plan.ResultOf(pid), plan.Int(p.Signal), p.arg(h)))
	}
	return oneStep(plan.Creds, fmt.Sprintf("queue %d pending signals", len(r.Private)+len(r.Shared)), ops...)
}

// siginfoPID is where the sender is in siginfo_t, in the layouts that have one.
const siginfoPID = 16

func (p pendingSignal) arg(h *kind.Host) plan.Arg {
	s := p.siginfo()
	b := s.Encode()
	switch s.Layout() {
	case abi.SiginfoKill, abi.SiginfoChild, abi.SiginfoQueue:
		if h.InTree(p.PID) {
			return plan.Buf(b, plan.Reloc{Off: siginfoPID, Size: 4, Arg: plan.PID(p.PID)})
		}
	}
	return plan.Buf(b)
}
