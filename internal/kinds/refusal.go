package kinds

import (
	"errors"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// noRecord is the record of a kind that has nothing to remember.
type noRecord struct{}

// refusal is a kind that only recognises what can't be saved yet and says so.
// It writes no record, and an image that holds one is refused.
func refusal[S any](name string, at plan.Site, match func(S) bool, why func(S) *kind.Unsupported) kind.Kind {
	return kind.New(kind.Spec[S, noRecord]{
		Name:  name,
		At:    at,
		Match: match,
		Dump: func(_ kind.Dump, s S, _ []plan.Result) (noRecord, error) {
			return noRecord{}, why(s)
		},
		Check: func(noRecord) error { return errors.New("no image holds a record of this kind") },
		Plan:  func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}
