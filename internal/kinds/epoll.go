package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type epollRecord struct {
	NonBlock bool          `cbor:"1,keyasint,omitempty"`
	Tables   []epollTable  `cbor:"2,keyasint,omitempty"`
	Watches  []epollWatch  `cbor:"3,keyasint,omitempty"`
	Borrowed []epollBorrow `cbor:"4,keyasint,omitempty"`
}

// epollTable is a descriptor table that holds the epoll instance.
type epollTable struct {
	Task kind.TaskRef `cbor:"1,keyasint"`
	FD   int32        `cbor:"2,keyasint"`
}

// epollWatch is a registration. Its key in the kernel is the description and
// the number that it had, so it must be made where it has that number.
type epollWatch struct {
	Table  uint32       `cbor:"1,keyasint,omitempty"` // index into Tables: where Target is at FD now
	FD     int32        `cbor:"2,keyasint"`
	Target kind.FileRef `cbor:"3,keyasint"`
	Events uint32       `cbor:"4,keyasint"`
	Data   uint64       `cbor:"5,keyasint,omitempty"`
	// Borrow is an index into Borrowed, plus 1, if Target is not at FD any more.
	Borrow uint32 `cbor:"6,keyasint,omitempty"`
}

// epollBorrow is how Target comes to the number for the moment.
type epollBorrow struct {
	From    int32 `cbor:"1,keyasint"` // a number where the table has the target; -1: none
	InUse   bool  `cbor:"2,keyasint,omitempty"`
	CloExec bool  `cbor:"3,keyasint,omitempty"` // of what is in use at the number
}

// epollPrivate are the bits that a one-shot registration keeps when it has
// fired (EP_PRIVATE_BITS in fs/eventpoll.c). Every other has EPOLLERR and
// EPOLLHUP, which EPOLL_CTL_ADD sets.
const epollPrivate = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE

// epollAny is every event that makes a descriptor ready.
const epollAny = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP

// Epoll claims epoll instances, nested ones included. Whether an edge was
// already reported can't be seen: what is ready at the restore is reported
// once more, which epoll(7) allows.
func Epoll() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, epollRecord]{
		Name:   "epoll",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classEpoll),
		Dump:   dumpEpoll,
		Check:  checkEpoll,
		Plan:   planEpoll,
	})
}

func dumpEpoll(d kind.Dump, f *kind.FileSite, _ []plan.Result) (epollRecord, error) {
	r := epollRecord{NonBlock: nonBlock(f)}
	if err := onlyFlags(f, unix.O_RDWR|unix.O_NONBLOCK); err != nil {
		return r, err
	}
	if err := noBusyPoll(f); err != nil {
		return r, err
	}
	for _, h := range f.Holders {
		r.Tables = append(r.Tables, epollTable{kind.TaskRef(h.Table.Task.ID), int32(h.Num)})
	}
	seen := map[int32]uint32{}
	for _, t := range f.Info.Epoll {
		target := d.EpollTarget(f, int(t.FD), seen[t.FD])
		seen[t.FD]++
		if target == 0 {
			return r, kind.Unsupportedf("it watches what was descriptor %d and is open only outside the tree", t.FD)
		}
		w := epollWatch{FD: t.FD, Target: target, Events: t.Events, Data: t.Data}
		if !r.place(f, &w) {
			r.borrow(f, &w)
		}
		if w.spent() && !isReady(f, &r, w) {
			return r, kind.Unsupportedf("its one-shot watch of descriptor %d has fired, and can't be made to fire again", t.FD)
		}
		r.Watches = append(r.Watches, w)
	}
	if len(r.Borrowed) > maxBorrowed {
		return r, kind.Unsupportedf("it watches %d descriptors that were closed or used again since", len(r.Borrowed))
	}
	return r, nil
}

// noBusyPoll refuses settings of EPIOCSPARAMS (Linux 6.9).
func noBusyPoll(f *kind.FileSite) error {
	res, err := f.Do(plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{self(f), plan.Int(uint32(unix.EPIOCGPARAMS)), plan.Out(8)}})
	if err != nil {
		return nil // an older kernel
	}
	for _, b := range res.Out[0] {
		if b != 0 {
			return kind.Unsupportedf("it polls network devices itself (EPIOCSPARAMS)")
		}
	}
	return nil
}

// spent says whether the watch is a one-shot that has fired.
func (w epollWatch) spent() bool { return w.Events&^uint32(epollPrivate) == 0 }

// place finds a table that has the target at the number of the watch.
func (r *epollRecord) place(f *kind.FileSite, w *epollWatch) bool {
	for i, h := range f.Holders {
		for _, fd := range h.Table.FDs {
			if fd.Num == w.FD && fd.File == w.Target {
				w.Table = uint32(i)
				return true
			}
		}
	}
	return false
}

// borrow finds how the target can come to its number in the first table.
func (r *epollRecord) borrow(f *kind.FileSite, w *epollWatch) {
	b := epollBorrow{From: -1}
	for _, fd := range f.Holders[0].Table.FDs {
		if fd.Num == w.FD {
			b.InUse, b.CloExec = true, fd.CloExec
		}
		if fd.File == w.Target && b.From < 0 {
			b.From = fd.Num
		}
	}
	r.Borrowed = append(r.Borrowed, b)
	w.Borrow = uint32(len(r.Borrowed))
}

// isReady says whether the target of a watch that has fired would make it
// fire now.
func isReady(f *kind.FileSite, r *epollRecord, w epollWatch) bool {
	at, num := f.Holders[w.Table], w.FD
	if w.Borrow != 0 {
		num = r.Borrowed[w.Borrow-1].From
	}
	pidfd, err := f.Do(plan.Call{Nr: unix.SYS_PIDFD_OPEN, Args: []plan.Arg{plan.PID(at.Table.Task.PID), plan.Int(0)}})
	if err != nil {
		return false
	}
	defer closeOwn(f.Do, pidfd.Ret)
	fd, err := f.Do(plan.Call{Nr: unix.SYS_PIDFD_GETFD, Args: []plan.Arg{plan.Int(pidfd.Ret), plan.Int(num), plan.Int(0)}})
	if err != nil {
		return false
	}
	defer closeOwn(f.Do, fd.Ret)
	events, err := poll(f.Do, plan.Int(fd.Ret), epollAny)
	return err == nil && events != 0
}

// maxBorrowed is how many slots there are for what must be put aside.
const maxBorrowed = 200

func checkEpoll(r epollRecord) error {
	if len(r.Borrowed) > maxBorrowed {
		return fmt.Errorf("%d watches of descriptors that were closed", len(r.Borrowed))
	}
	for _, t := range r.Tables {
		if t.FD < 0 {
			return fmt.Errorf("descriptor %d", t.FD)
		}
	}
	for _, w := range r.Watches {
		switch {
		case w.FD < 0, w.Target == 0:
			return fmt.Errorf("a watch of descriptor %d, object %d", w.FD, w.Target)
		case int(w.Table) >= len(r.Tables), int(w.Borrow) > len(r.Borrowed):
			return fmt.Errorf("the watch of descriptor %d is made nowhere", w.FD)
		}
	}
	return nil
}
