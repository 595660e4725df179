package host

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Answer is what came of trying: a probe that could not be made says neither
// yes nor no.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

func (a Answer) String() string { return [...]string{"unknown", "no", "yes"}[a] }

// MarshalText is for JSON.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// answered makes an answer of what a call said: nil is yes, one of the errors
// that stand for no is no, and anything else tells nothing.
func answered(err error, no ...error) (Answer, error) {
	if err == nil {
		return Yes, nil
	}
	for _, e := range no {
		if errors.Is(err, e) {
			return No, err
		}
	}
	return Unknown, err
}

// permitted is answered for a right.
func permitted(err error) (Answer, error) { return answered(err, unix.EPERM, unix.EACCES) }
