package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type altStackRecord struct {
	SP         uint64 `cbor:"1,keyasint,omitempty"`
	Size       uint64 `cbor:"2,keyasint,omitempty"` // 0: there is none
	Autodisarm bool   `cbor:"3,keyasint,omitempty"` // SS_AUTODISARM
}

// AltStack keeps a thread's stack for signal handlers (sigaltstack(2)).
// SS_ONSTACK is not state: the kernel derives it from the stack pointer.
func AltStack() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, altStackRecord]{
		Name:  "altstack",
		At:    plan.Thread,
		Ask:   asks[*kind.ThreadSite](plan.Call{Nr: unix.SYS_SIGALTSTACK, Args: []plan.Arg{plan.Int(0), plan.Out(abi.SizeofStack)}}),
		Dump:  dumpAltStack,
		Check: altStackRecord.check,
		Plan:  altStackRecord.plan,
	})
}

func dumpAltStack(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (altStackRecord, error) {
	if err := answer(asked[0], "the signal stack"); err != nil {
		return altStackRecord{}, err
	}
	s := abi.DecodeStack(asked[0].Out[0])
	flags := uint32(s.Flags)
	if unknown := flags &^ (abi.SSOnstack | abi.SSDisable | abi.SSAutodisarm); unknown != 0 {
		return altStackRecord{}, kind.Unsupportedf("its signal stack has the unknown flags %#x", unknown)
	}
	if flags&abi.SSDisable != 0 {
		return altStackRecord{}, nil
	}
	return altStackRecord{s.SP, s.Size, flags&abi.SSAutodisarm != 0}, nil
}

func (r altStackRecord) check() error {
	if r.Size == 0 && r != (altStackRecord{}) {
		return errors.New("a stack without a size")
	}
	if r.SP+r.Size < r.SP {
		return errors.New("the stack wraps around")
	}
	return nil
}

// plan has nothing to do without a stack: clone(2) gives a thread none, nor
// does execve(2) leave one.
func (r altStackRecord) plan(h *kind.Host) []plan.Step {
	if r.Size == 0 {
		return nil
	}
	s := abi.Stack{SP: r.SP, Size: r.Size}.Encode()
	if r.Autodisarm {
		s[11] = abi.SSAutodisarm >> 24
	}
	return oneStep(plan.Arm, fmt.Sprintf("put the signal stack at %#x", r.SP),
		inTask(h, unix.SYS_SIGALTSTACK, plan.Buf(s), plan.Int(0)))
}
