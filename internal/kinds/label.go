package kinds

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type labelRecord struct {
	Label string `cbor:"1,keyasint,omitempty"` // empty: no security module gives one
}

// Label keeps the label of a security module (SELinux, AppArmor, Smack) as a
// demand: a thread is restored only where it would have the same one anyway.
func Label() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, labelRecord]{
		Name: "label",
		At:   plan.Thread,
		Dump: dumpLabel,
		Check: func(r labelRecord) error {
			if !utf8.ValidString(r.Label) {
				return errors.New("a label that is no text")
			}
			return nil
		},
		Plan: func(r labelRecord, h *kind.Host) []plan.Step {
			if r.Label == h.Caller.Born.Label {
				return nil
			}
			return []plan.Step{{Stage: plan.Seal, Text: fmt.Sprintf("run under the security label %+q", r.Label),
				Needs: []plan.Need{{Demand: "label", Why: fmt.Sprintf("rstr's own is %+q, and it can't be changed yet", h.Caller.Born.Label)}}}}
		},
	})
}

// dumpLabel reads the label; without a module the kernel says EINVAL, or has
// no such file, for one thread as for all.
func dumpLabel(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (labelRecord, error) {
	_, err := t.Task.Threads[0].Proc.Read("attr/current")
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return labelRecord{}, nil
	}
	text, err := t.Proc.Read("attr/current")
	return labelRecord{strings.TrimRight(string(text), "\n\x00")}, err
}
