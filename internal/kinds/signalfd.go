package kinds

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type signalfdRecord struct {
	Mask     abi.SigSet `cbor:"1,keyasint"` // the signals that it reads
	NonBlock bool       `cbor:"2,keyasint,omitempty"`
}

// Signalfd claims signalfds. They hold no signals: those are pending at the
// process or thread that reads.
func Signalfd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, signalfdRecord]{
		Name:   "signalfd",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classSignalfd),
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (signalfdRecord, error) {
			if f.Info.Signalfd == nil {
				return signalfdRecord{}, errors.New("fdinfo shows no sigmask")
			}
			return signalfdRecord{*f.Info.Signalfd, nonBlock(f)}, onlyFlags(f, unix.O_RDWR|unix.O_NONBLOCK|unix.O_ASYNC)
		},
		Check: func(r signalfdRecord) error {
			if r.Mask.Has(int(unix.SIGKILL)) || r.Mask.Has(int(unix.SIGSTOP)) {
				return errors.New("a mask with SIGKILL or SIGSTOP") // sys_signalfd4 drops them
			}
			return nil
		},
		Plan: planSignalfd,
	})
}

func planSignalfd(r signalfdRecord, h *kind.Host) []plan.Step {
	flags := unix.SFD_CLOEXEC
	if r.NonBlock {
		flags |= unix.SFD_NONBLOCK
	}
	return oneStep(plan.Create, "make a signalfd", plan.Call{
		Nr:   unix.SYS_SIGNALFD4,
		Args: []plan.Arg{plan.Int(-1), plan.Buf(r.Mask.Encode()), plan.Int(8), plan.Int(flags)},
		Out:  h.Self,
	})
}
