package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type rseqRecord struct {
	Addr      uint64 `cbor:"1,keyasint"`
	Size      uint32 `cbor:"2,keyasint"`
	Signature uint32 `cbor:"3,keyasint"`
}

// RSeq keeps a thread's registration for restartable sequences
// (PTRACE_GET_RSEQ_CONFIGURATION). The area itself is memory. It is
// registered after the memory is filled, since registering clears the
// pointer to the critical section; a thread that was in one is sent to its
// abort handler by the engine.
func RSeq() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, rseqRecord]{
		Name:  "rseq",
		At:    plan.Thread,
		Match: func(t *kind.ThreadSite) bool { return t.RSeq.Addr != 0 },
		Dump: func(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (rseqRecord, error) {
			if t.RSeq.Flags != 0 {
				return rseqRecord{}, kind.Unsupportedf("rseq with the flags %#x", t.RSeq.Flags)
			}
			return rseqRecord{t.RSeq.Addr, t.RSeq.Size, t.RSeq.Signature}, nil
		},
		Check: rseqRecord.check,
		Plan: func(r rseqRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Arm, fmt.Sprintf("register the rseq area at %#x", r.Addr),
				inTask(h, unix.SYS_RSEQ, plan.Int(r.Addr), plan.Int(r.Size), plan.Int(0), plan.Int(r.Signature)))
		},
	})
}

func (r rseqRecord) check() error {
	if r.Addr == 0 {
		return errors.New("no address")
	}
	if r.Size < abi.SizeofRSeq || r.Addr+uint64(r.Size) < r.Addr {
		return fmt.Errorf("no area at %#x of %d bytes", r.Addr, r.Size)
	}
	return nil
}
