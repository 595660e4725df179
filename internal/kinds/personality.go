package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// askPersonality is the value that changes nothing.
const askPersonality = ^uint32(0)

type personalityRecord struct {
	Value uint32 `cbor:"1,keyasint,omitempty"`
}

// Personality keeps a thread's execution domain and its flags, such as
// ADDR_NO_RANDOMIZE (personality(2)). They change what mmap(2) does, so they
// are set when memory is done; always, since rstr may have been started with
// some.
func Personality() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, personalityRecord]{
		Name: "personality",
		At:   plan.Thread,
		Ask:  asks[*kind.ThreadSite](plan.Call{Nr: unix.SYS_PERSONALITY, Args: []plan.Arg{plan.Int(askPersonality)}}),
		Dump: dumpPersonality,
		Check: func(r personalityRecord) error {
			if r.Value == askPersonality {
				return errors.New("personality -1 only asks")
			}
			return nil
		},
		Plan: func(r personalityRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Arm, fmt.Sprintf("set the personality to %#x", r.Value),
				inTask(h, unix.SYS_PERSONALITY, plan.Int(r.Value)))
		},
	})
}

func dumpPersonality(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (personalityRecord, error) {
	return personalityRecord{uint32(asked[0].Ret)}, answer(asked[0], "the personality")
}
