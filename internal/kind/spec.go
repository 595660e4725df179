package kind

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// Spec describes a kind with its own types: S is the site, a pointer to a
// struct of site.go; R is the record, a struct with integer CBOR keys.
type Spec[S, R any] struct {
	Name string    // in images; never reused
	At   plan.Site // must be the site that S stands for
	Ver  uint16    // of R; 0 counts as 1
	// Claims: this kind is the one that is responsible for the sites that it
	// matches. Others contribute.
	Claims bool
	// Match says whether the kind has something to say about the site. Nil
	// matches every site of the sort; an image in which one has no record is
	// refused then. What restricts a program should therefore be recorded
	// even where it doesn't.
	Match func(S) bool
	// Ask lists calls that only the target itself can answer. They run in a
	// frozen task. Their results are forgeable by the target: R must then
	// hold no id and no capability that grants anything. In is set by the
	// engine to the site; a failed call is a negative Ret, not an error.
	Ask func(S) []plan.Call
	// Dump makes the record. asked holds the results of Ask, in order. It is
	// called for several objects at the same time, save those that may have
	// bulk data: OpenFile and Inode.
	Dump func(Dump, S, []plan.Result) (R, error)
	// Check refuses what Dump cannot have written. References are checked
	// by the engine. Nil accepts everything that decodes.
	Check func(R) error
	// Plan says how the object is made again. It is pure.
	Plan func(R, *Host) []plan.Step
}

type typed[S, R any] struct{ Spec[S, R] }

// New erases the types of a Spec.
func New[S, R any](s Spec[S, R]) Kind {
	if s.Ver == 0 {
		s.Ver = 1
	}
	return typed[S, R]{s}
}

func (k typed[S, R]) Name() string    { return k.Spec.Name }
func (k typed[S, R]) Version() uint16 { return k.Ver }
func (k typed[S, R]) Site() plan.Site { return k.At }
func (k typed[S, R]) Claims() bool    { return k.Spec.Claims }

func (k typed[S, R]) Always() bool { return k.Spec.Match == nil && !k.Spec.Claims }

func (k typed[S, R]) Match(site any) bool {
	s, ok := site.(S)
	return ok && (k.Spec.Match == nil || k.Spec.Match(s))
}

func (k typed[S, R]) Ask(site any) []plan.Call {
	if k.Spec.Ask == nil {
		return nil
	}
	return k.Spec.Ask(site.(S))
}

func (k typed[S, R]) Dump(d Dump, site any, asked []plan.Result) ([]byte, error) {
	r, err := k.Spec.Dump(d, site.(S), asked)
	if err != nil {
		return nil, err
	}
	if err := k.check(r); err != nil {
		return nil, fmt.Errorf("%s: own record: %w", k.Spec.Name, err)
	}
	return image.Marshal(&r)
}

func (k typed[S, R]) Prepare() {
	var zero R
	_, _ = image.Marshal(zero)
}

func (k typed[S, R]) Decode(version uint16, body []byte) (any, error) {
	if version != k.Ver {
		return nil, fmt.Errorf("%s: record version %d, this program knows %d", k.Spec.Name, version, k.Ver)
	}
	r := new(R)
	if err := image.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Spec.Name, err)
	}
	return r, k.Check(r)
}

func (k typed[S, R]) Check(record any) error {
	if err := k.check(*record.(*R)); err != nil {
		return fmt.Errorf("%s: %w", k.Spec.Name, err)
	}
	return nil
}

func (k typed[S, R]) check(r R) error {
	if k.Spec.Check == nil {
		return nil
	}
	return k.Spec.Check(r)
}

func (k typed[S, R]) Plan(record any, h *Host) []plan.Step {
	return k.Spec.Plan(*record.(*R), h)
}
