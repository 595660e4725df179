package kinds

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// maxComm is TASK_COMM_LEN without the final NUL (linux/sched.h).
const maxComm = 15

type threadRecord struct {
	Comm []byte `cbor:"1,keyasint"` // any bytes but NUL
}

// Thread is responsible for a thread, and keeps its name (PR_SET_NAME).
func Thread() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, threadRecord]{
		Name:   "thread",
		At:     plan.Thread,
		Claims: true,
		Dump:   dumpThread,
		Check:  threadRecord.check,
		Plan: func(r threadRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Arm, "set the thread's name",
				prctlIn(h, unix.PR_SET_NAME, plan.Str(string(r.Comm))))
		},
	})
}

func dumpThread(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (threadRecord, error) {
	if t.Stat.Flags&(abi.PFKthread|pfIOWorker|pfUserWorker) != 0 {
		return threadRecord{}, kind.Unsupportedf("it is a worker that the kernel started for the process (io_uring or vhost)")
	}
	return threadRecord{Comm: []byte(t.Stat.Comm)}, nil
}

// Threads that the kernel adds to a process (include/linux/sched.h).
const (
	pfIOWorker   = 0x00000010
	pfUserWorker = 0x00004000
)

func (r threadRecord) check() error {
	if len(r.Comm) > maxComm {
		return errors.New("the name is too long")
	}
	if bytes.IndexByte(r.Comm, 0) >= 0 {
		return errors.New("the name holds a NUL")
	}
	return nil
}
