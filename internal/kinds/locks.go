package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type locksRecord struct {
	Flock flock       `cbor:"1,keyasint"`
	OFD   []rangeLock `cbor:"2,keyasint,omitempty"` // F_OFD_SETLK: the description's own
	POSIX []taskLocks `cbor:"3,keyasint,omitempty"` // F_SETLK: a descriptor table's
}

// flock is the lock of flock(2). It belongs to the description, but the kernel
// remembers which process took it and shows that in /proc/locks.
type flock struct {
	Access lockAccess   `cbor:"1,keyasint,omitempty"`
	Task   kind.TaskRef `cbor:"2,keyasint,omitempty"`
	FD     int32        `cbor:"3,keyasint,omitempty"`
}

// lockAccess is what a lock shuts out; 0 is no lock.
type lockAccess uint8

const (
	lockRead lockAccess = iota + 1
	lockWrite
)

// rangeLock covers Len bytes from Start on, or with Len 0 all from there.
type rangeLock struct {
	Access lockAccess `cbor:"1,keyasint"`
	Start  int64      `cbor:"2,keyasint,omitempty"`
	Len    int64      `cbor:"3,keyasint,omitempty"`
}

// taskLocks are the locks of one descriptor table, taken through number FD.
type taskLocks struct {
	Task  kind.TaskRef `cbor:"1,keyasint"`
	FD    int32        `cbor:"2,keyasint"`
	Locks []rangeLock  `cbor:"3,keyasint"`
}

// Locks adds to a description the file locks that were taken through it. The
// calls that wait for a lock are not here: they start again.
//
// POSIX locks are lost when the process closes any descriptor of the file
// (fcntl_locking(2)), so they are taken last, by a task that has the table.
func Locks() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, locksRecord]{
		Name:  "locks",
		At:    plan.OpenFile,
		Match: func(f *kind.FileSite) bool { return len(f.Info.Locks) > 0 || len(f.Holders) > 1 && anyLocks(f) },
		Dump:  dumpLocks,
		Check: checkLocks,
		Plan:  planLocks,
	})
}

// anyLocks looks at the other tables: fdinfo shows the POSIX locks of its own
// table only (show_fd_locks in fs/locks.c).
func anyLocks(f *kind.FileSite) bool {
	for _, h := range f.Holders {
		if locks, err := locksAt(f, h); err != nil || len(locks) > 0 {
			return true // an error comes again in dumpLocks
		}
	}
	return false
}

func locksAt(f *kind.FileSite, h kind.Holder) ([]abi.Lock, error) {
	if h.Table == f.Task.FDTable && h.Num == f.Num {
		return f.Info.Locks, nil
	}
	text, err := h.Table.Task.Proc.Read(fmt.Sprintf("fdinfo/%d", h.Num))
	if err != nil {
		return nil, err
	}
	info, err := abi.ParseFDInfo(text)
	if err != nil {
		return nil, err
	}
	return info.Locks, nil
}

func dumpLocks(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (locksRecord, error) {
	var r locksRecord
	own := map[*kind.FDTableSite]bool{}
	for i, h := range f.Holders {
		locks, err := locksAt(f, h)
		if err != nil {
			return r, err
		}
		if i == 0 { // these are the same wherever one looks
			if err := r.ofDescription(f, locks); err != nil {
				return r, err
			}
		}
		if p := rangesOf(locks, "POSIX"); len(p) > 0 && !own[h.Table] {
			own[h.Table] = true
			r.POSIX = append(r.POSIX, taskLocks{kind.TaskRef(h.Table.Task.ID), int32(h.Num), p})
		}
	}
	return r, nil
}

func (r *locksRecord) ofDescription(f *kind.FileSite, locks []abi.Lock) error {
	for _, l := range locks {
		switch {
		case l.Type == "FLOCK" && l.Mode == "ADVISORY":
			r.Flock = flockOf(f, l)
		case l.Type == "OFDLCK" && l.Mode == "ADVISORY", l.Type == "POSIX" && l.Mode == "ADVISORY":
		case l.Type == "LEASE", l.Type == "DELEG":
			return kind.Unsupportedf("a lease on it (F_SETLEASE), which would be broken by opening the file")
		default:
			return kind.Unsupportedf("a lock of the sort %s %s", l.Type, l.Mode)
		}
	}
	r.OFD = rangesOf(locks, "OFDLCK")
	return nil
}

// flockOf finds the task that took the lock, if it still has the file.
func flockOf(f *kind.FileSite, l abi.Lock) flock {
	for _, h := range f.Holders {
		if h.Table.Task.PID == kind.PID(l.Pid) {
			return flock{accessOf(l), kind.TaskRef(h.Table.Task.ID), int32(h.Num)}
		}
	}
	return flock{accessOf(l), kind.TaskRef(f.Task.ID), int32(f.Num)}
}

func accessOf(l abi.Lock) lockAccess {
	if l.Access == "WRITE" {
		return lockWrite
	}
	return lockRead
}

func rangesOf(locks []abi.Lock, sort string) []rangeLock {
	var out []rangeLock
	for _, l := range locks {
		if l.Type != sort {
			continue
		}
		r := rangeLock{Access: accessOf(l), Start: int64(l.Start)}
		if l.End != abi.MaxOffset {
			r.Len = int64(l.End-l.Start) + 1
		}
		out = append(out, r)
	}
	return out
}

func checkLocks(r locksRecord) error {
	if l := r.Flock; l.Access > lockWrite || l.FD < 0 || (l.Access == 0) != (l.Task == 0) {
		return fmt.Errorf("lock %+v", l)
	}
	all := r.OFD
	for _, t := range r.POSIX {
		if t.Task == 0 || t.FD < 0 {
			return errors.New("a lock of nobody's")
		}
		all = append(all[:len(all):len(all)], t.Locks...)
	}
	for _, l := range all {
		if l.Access < lockRead || l.Access > lockWrite || l.Start < 0 || l.Len < 0 || l.Start+l.Len < 0 {
			return fmt.Errorf("lock %+v", l)
		}
	}
	return nil
}

func planLocks(r locksRecord, h *kind.Host) []plan.Step {
	var calls []plan.Call
	if l := r.Flock; l.Access != 0 {
		how := unix.LOCK_SH | unix.LOCK_NB
		if l.Access == lockWrite {
			how = unix.LOCK_EX | unix.LOCK_NB
		}
		calls = append(calls, plan.Call{In: plan.Ref{Site: plan.Task, ID: uint32(l.Task)}, Nr: unix.SYS_FLOCK,
			Args: []plan.Arg{plan.Int(l.FD), plan.Int(how)}, Ret: plan.Exactly(0)})
	}
	for _, l := range r.OFD {
		calls = append(calls, l.take(plan.Ref{}, plan.FD(h.Self), unix.F_OFD_SETLK))
	}
	for _, t := range r.POSIX {
		for _, l := range t.Locks {
			calls = append(calls, l.take(plan.Ref{Site: plan.Task, ID: uint32(t.Task)}, plan.Int(t.FD), unix.F_SETLK))
		}
	}
	return oneStep(plan.Arm, "lock the file", asOps(calls)...)
}

func (l rangeLock) take(in plan.Ref, fd plan.Arg, cmd int) plan.Call {
	f := abi.Flock{Type: unix.F_RDLCK, Start: l.Start, Len: l.Len}
	if l.Access == lockWrite {
		f.Type = unix.F_WRLCK
	}
	return plan.Call{In: in, Nr: unix.SYS_FCNTL, Args: []plan.Arg{fd, plan.Int(cmd), plan.Buf(f.Encode())}, Ret: plan.Exactly(0)}
}
