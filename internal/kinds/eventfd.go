package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type eventfdRecord struct {
	Count     uint64 `cbor:"1,keyasint,omitempty"`
	Semaphore bool   `cbor:"2,keyasint,omitempty"`
	NonBlock  bool   `cbor:"3,keyasint,omitempty"`
}

// maxEventfd is the largest count that write(2) can reach; eventfd(2).
const maxEventfd = 1<<64 - 2

// Eventfd claims eventfds.
func Eventfd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, eventfdRecord]{
		Name:   "eventfd",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classEventfd),
		Dump:   dumpEventfd,
		Check: func(r eventfdRecord) error {
			if r.Count > maxEventfd {
				return fmt.Errorf("count %d", r.Count)
			}
			return nil
		},
		Plan: planEventfd,
	})
}

func dumpEventfd(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (eventfdRecord, error) {
	e := f.Info.Eventfd
	if err := onlyFlags(f, unix.O_RDWR|unix.O_NONBLOCK|unix.O_ASYNC); err != nil {
		return eventfdRecord{}, err
	}
	switch {
	case e == nil || !e.HasSemaphore:
		return eventfdRecord{}, kind.Unsupportedf("this kernel does not tell whether an eventfd is a semaphore (Linux 6.5 does)")
	case e.Count > maxEventfd:
		return eventfdRecord{}, kind.Unsupportedf("an eventfd whose count has overflowed (io_submit(2))")
	}
	return eventfdRecord{Count: e.Count, Semaphore: e.Semaphore, NonBlock: nonBlock(f)}, nil
}

func planEventfd(r eventfdRecord, h *kind.Host) []plan.Step {
	flags := unix.EFD_CLOEXEC
	if r.Semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	if r.NonBlock {
		flags |= unix.EFD_NONBLOCK
	}
	steps := oneStep(plan.Create, "make an eventfd", plan.Call{
		Nr: unix.SYS_EVENTFD2, Args: []plan.Arg{plan.Int(0), plan.Int(flags)}, Out: h.Self})
	if r.Count == 0 {
		return steps
	}
	// Its first argument has 32 bits only, so the count is written.
	return append(steps, oneStep(plan.Fill, fmt.Sprintf("set the eventfd to %d", r.Count), plan.Call{
		Nr:   unix.SYS_WRITE,
		Args: []plan.Arg{plan.FD(h.Self), plan.Buf(binary.LittleEndian.AppendUint64(nil, r.Count)), plan.Int(8)},
		Ret:  plan.Exactly(8),
	})...)
}
