package kinds

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

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
		Dump: dumpPersonality,
		Check: func(r personalityRecord) error {
			if r.Value == ^uint32(0) {
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

func dumpPersonality(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (personalityRecord, error) {
	text, err := t.Proc.Read("personality")
	if err != nil {
		return personalityRecord{}, err
	}
	v, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 32)
	if err != nil {
		return personalityRecord{}, fmt.Errorf("personality: %w", err)
	}
	return personalityRecord{uint32(v)}, nil
}
