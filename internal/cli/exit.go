// Package cli is how both commands speak: exit codes, messages, progress.
//
// Messages go to stderr, in lower case, prefixed by the program's name; only
// the product of a command goes to stdout. An error says what was being done,
// on which object and why it failed; a line "hint:" says what to type next.
package cli

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Exit codes of ckpt and rstr. The table in docs/exit-codes.md is tested
// against this list.
const (
	OK          = 0
	Failure     = 1 // anything that has no code of its own
	Usage       = 2 // the command line makes no sense
	NoProcess   = 3 // no such process
	NotAllowed  = 4 // the kernel does not permit it
	Unsupported = 5 // the tree has something that can't be saved
	BadImage    = 6 // no image, or a damaged one
	BadSign     = 7 // the signature is wrong or missing, or its key is not trusted
	Refused     = 8 // the image asks for authority that nobody granted
	HostDiffers = 9 // a PID is taken, a file changed, the CPU or kernel is another
)

// Code tells a class of errors by its exit code.
type Code struct {
	Is   func(error) bool
	Code int
}

// As matches errors of type T anywhere in a chain.
func As[T error](code int) Code {
	return Code{func(err error) bool {
		var t T
		return errors.As(err, &t)
	}, code}
}

// Is matches a sentinel anywhere in a chain.
func Is(target error, code int) Code {
	return Code{func(err error) bool { return errors.Is(err, target) }, code}
}

// ExitCode is the code for an error: the first of the command's own classes
// that it belongs to, then those that both commands know.
func ExitCode(err error, own ...Code) int {
	if err == nil {
		return OK
	}
	for _, c := range append(own, common()...) {
		if c.Is(err) {
			return c.Code
		}
	}
	return Failure
}

func common() []Code {
	out := []Code{As[*UsageError](Usage)}
	for _, e := range []error{image.ErrFormat, image.ErrVersion, image.ErrTruncated, image.ErrDigest, image.ErrLimit, image.ErrFailedDump} {
		out = append(out, Is(e, BadImage))
	}
	for _, e := range []error{verify.ErrSignature, verify.ErrNamespace, verify.ErrTooMany, verify.ErrOrder, verify.ErrUnsigned,
		verify.ErrStripped, verify.ErrUnknownSigner, verify.ErrPrincipal, verify.ErrClass, verify.ErrKeyTime, verify.ErrCertificate,
		verify.ErrRevoked, verify.ErrTrustFile, verify.ErrExpired, verify.ErrFuture, verify.ErrAudience, verify.ErrExpect,
		verify.ErrParent, verify.ErrConsumed, verify.ErrRollback, verify.ErrClock, verify.ErrLedger, verify.ErrNoGrant} {
		out = append(out, Is(e, BadSign))
	}
	return append(out, Is(unix.ESRCH, NoProcess), Is(unix.EPERM, NotAllowed), Is(fs.ErrPermission, NotAllowed))
}

// UsageError is a command line that makes no sense.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }
