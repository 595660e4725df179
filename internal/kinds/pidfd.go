package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type pidfdRecord struct {
	PID      kind.PID `cbor:"1,keyasint"`
	Thread   bool     `cbor:"2,keyasint,omitempty"` // PIDFD_THREAD
	NonBlock bool     `cbor:"3,keyasint,omitempty"`
}

// Pidfd claims pidfds of processes and threads of the tree, zombies included.
func Pidfd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, pidfdRecord]{
		Name:   "pidfd",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classPidfd),
		Dump:   dumpPidfd,
		Check: func(r pidfdRecord) error {
			if r.PID <= 0 {
				return fmt.Errorf("pid %d", r.PID)
			}
			return nil
		},
		Plan: planPidfd,
	})
}

func dumpPidfd(d kind.Dump, f *kind.FileSite, _ []plan.Result) (pidfdRecord, error) {
	p := f.Info.Pidfd
	if p == nil {
		return pidfdRecord{}, errors.New("fdinfo shows no pid")
	}
	// PIDFD_THREAD is O_EXCL and stays in f_flags (linux/pidfd.h).
	if err := onlyFlags(f, unix.O_RDWR|unix.O_NONBLOCK|unix.O_ASYNC|unix.O_EXCL); err != nil {
		return pidfdRecord{}, err
	}
	switch {
	case p.Pid == -1:
		return pidfdRecord{}, kind.Unsupportedf("a pidfd of a process that has ended and been waited for")
	case p.Pid == 0:
		return pidfdRecord{}, kind.Unsupportedf("a pidfd of a process in another PID namespace")
	case !d.InTree(kind.PID(p.Pid)):
		return pidfdRecord{}, kind.Unsupportedf("a pidfd of process %d, which is outside the tree", p.Pid)
	}
	return pidfdRecord{PID: kind.PID(p.Pid), Thread: f.Info.Flags&unix.O_EXCL != 0, NonBlock: nonBlock(f)}, nil
}

func planPidfd(r pidfdRecord, h *kind.Host) []plan.Step {
	flags := 0
	if r.Thread {
		flags |= unix.O_EXCL
	}
	if r.NonBlock {
		flags |= unix.O_NONBLOCK
	}
	return oneStep(plan.Create, fmt.Sprintf("open a pidfd of %d", r.PID), plan.Call{
		Nr: unix.SYS_PIDFD_OPEN, Args: []plan.Arg{plan.PID(r.PID), plan.Int(flags)}, Out: h.Self})
}
