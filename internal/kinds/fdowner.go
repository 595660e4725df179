package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// Numbers of fcntl(2) and ioctl(2) that x/sys/unix lacks
// (asm-generic/fcntl.h, linux/fcntl.h, asm-generic/ioctls.h).
const (
	fSetSig       = 10
	fGetSig       = 11
	fGetOwnerUIDs = 17
	fioasync      = 0x5452
	ownerThread   = 0 // F_OWNER_TID
	ownerGroup    = 2 // F_OWNER_PGRP
)

type fdownerRecord struct {
	Type  int32    `cbor:"1,keyasint,omitempty"` // F_OWNER_*
	PID   kind.PID `cbor:"2,keyasint,omitempty"` // 0: nobody
	Sig   int32    `cbor:"3,keyasint,omitempty"` // F_SETSIG; 0: SIGIO
	Async bool     `cbor:"4,keyasint,omitempty"` // O_ASYNC
	By    *setBy   `cbor:"5,keyasint,omitempty"` // nil: there is no owner
	// Task set the owner, as far as its ids tell, through its descriptor FD:
	// that number is in the signals (si_fd).
	Task kind.TaskRef `cbor:"7,keyasint"`
	FD   int32        `cbor:"8,keyasint"`
}

// setBy is who set the owner of a description: it decides whom the signal may
// reach.
type setBy struct {
	UID  credmap.UID `cbor:"1,keyasint"`
	EUID credmap.UID `cbor:"2,keyasint"`
}

// FDOwner adds to a description whom it tells of input and output, and by
// which signal.
func FDOwner() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, fdownerRecord]{
		Name: "fdowner",
		At:   plan.OpenFile,
		Match: func(f *kind.FileSite) bool {
			if f.Info.Flags&unix.O_PATH != 0 {
				return false // fcntl(2) is EBADF there
			}
			r, err := ownerOf(f)
			return err != nil || r != fdownerRecord{}
		},
		Dump:  dumpFDOwner,
		Check: checkFDOwner,
		Plan:  planFDOwner,
	})
}

// ownerOf reads all but the ids.
func ownerOf(f *kind.FileSite) (r fdownerRecord, err error) {
	sig, err := fcntl(f.Do, self(f), fGetSig)
	if err != nil {
		return r, err
	}
	ex, err := f.Do(plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{self(f), plan.Int(unix.F_GETOWN_EX), plan.Out(8)}})
	if err != nil {
		return r, fmt.Errorf("asking for the owner: %w", err)
	}
	kindOf, pid := pair(ex.Out[0])
	r = fdownerRecord{Sig: int32(sig), Async: f.Info.Flags&unix.O_ASYNC != 0}
	if pid != 0 {
		r.Type, r.PID = int32(kindOf), kind.PID(pid)
	}
	return r, nil
}

func dumpFDOwner(d kind.Dump, f *kind.FileSite, _ []plan.Result) (fdownerRecord, error) {
	r, err := ownerOf(f)
	if err != nil {
		return r, err
	}
	r.Task, r.FD = kind.TaskRef(f.Task.ID), int32(f.Num)
	if r.PID == 0 {
		return r, nil
	}
	if !d.InTree(r.PID) {
		return r, kind.Unsupportedf("it signals process or group %d, which is outside the tree (F_SETOWN)", r.PID)
	}
	ids, err := f.Do(plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{self(f), plan.Int(fGetOwnerUIDs), plan.Out(8)}})
	if err != nil {
		return r, kind.Unsupportedf("this kernel does not tell who set the owner of its signals (CONFIG_CHECKPOINT_RESTORE)")
	}
	uid, euid := pair(ids.Out[0])
	r.By = &setBy{credmap.UID(uid), credmap.UID(euid)}
	if s := f.Task.Status; s != nil && (uint32(uid) != s.UID.Real || uint32(euid) != s.UID.Effective) {
		return r, kind.Unsupportedf("the owner of its signals was set by user %d, who is not the process's", uid)
	}
	return r, nil
}

func checkFDOwner(r fdownerRecord) error {
	switch {
	case r.Task == 0, r.FD < 0:
		return errors.New("no task")
	case r.Type < ownerThread, r.Type > ownerGroup, r.PID < 0, r.PID == 0 && r.Type != 0, (r.PID == 0) != (r.By == nil):
		return fmt.Errorf("owner %d of type %d", r.PID, r.Type)
	case r.Sig < 0, r.Sig > 64:
		return fmt.Errorf("signal %d", r.Sig)
	}
	return nil
}

// planFDOwner lets the tool set the owner in the credentials of the task, as
// the kernel keeps those of whoever sets it (f_setown in fs/fcntl.c).
func planFDOwner(r fdownerRecord, h *kind.Host) []plan.Step {
	var calls []plan.Call
	if r.Sig != 0 {
		calls = append(calls, plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.FD(h.Self), plan.Int(fSetSig), plan.Int(r.Sig)}, Ret: plan.Exactly(0)})
	}
	if r.PID != 0 {
		calls = append(calls, setOwner(r, h))
	}
	if r.Async {
		calls = append(calls, plan.Call{In: plan.Ref{Site: plan.Task, ID: uint32(r.Task)}, Nr: unix.SYS_IOCTL, Args: []plan.Arg{
			plan.Int(r.FD), plan.Int(fioasync), plan.Buf([]byte{1, 0, 0, 0})}, Ret: plan.Exactly(0)})
	}
	steps := oneStep(plan.Arm, "have it signal its owner", asOps(calls)...)
	if len(steps) > 0 && r.By != nil {
		steps[0].Needs = r.By.needs(h)
	}
	return steps
}

// needs is for who is not the caller: the signals would reach whom she can't.
func (b setBy) needs(h *kind.Host) []plan.Need {
	var n needList
	for _, id := range []credmap.UID{b.UID, b.EUID} {
		n.addIf(id != h.Caller.UID.Real, fmt.Sprintf("open-as:%d", id), "the owner of its signals was set by this user")
	}
	return n
}

func setOwner(r fdownerRecord, h *kind.Host) plan.Call {
	b := binary.LittleEndian.AppendUint32(nil, uint32(r.Type))
	c := plan.Call{
		Nr: unix.SYS_FCNTL,
		Args: []plan.Arg{plan.FD(h.Self), plan.Int(unix.F_SETOWN_EX),
			plan.Buf(append(b, 0, 0, 0, 0), plan.Reloc{Off: 4, Size: 4, Arg: plan.PID(r.PID)})},
		Ret: plan.Exactly(0),
	}
	if r.By.UID != h.Caller.UID.Real || r.By.EUID != h.Caller.UID.Effective {
		c.As = plan.Ref{Site: plan.Task, ID: uint32(r.Task)}
	}
	return c
}
