// Package cli is how both commands speak: exit codes, messages, progress.
//
// Messages go to stderr, in lower case, prefixed by the program's name; only
// the product of a command goes to stdout. An error says what was being done,
// on which object and why it failed; a line "hint:" says what to type next.
// Whatever a message quotes, no byte of it can steer a terminal.
package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Exit codes of ckpt and rstr. They are a promise to scripts: a code is never
// given another meaning. docs/exit-codes.md is tested against Codes.
const (
	OK          = 0
	Failure     = 1
	Usage       = 2
	NoProcess   = 3
	NotAllowed  = 4
	Unsupported = 5
	BadImage    = 6
	BadSign     = 7
	Refused     = 8
	HostDiffers = 9
	Expired     = 10
	WrongClock  = 11
	WrongHost   = 12
	Consumed    = 13
	RolledBack  = 14
	WrongImage  = 15
	NotAttested = 16
)

// CodeText is a line of the table of exit codes.
type CodeText struct {
	Code int
	Text string
}

// Codes is the table of exit codes, as the manual has it.
func Codes() []CodeText {
	return []CodeText{
		{OK, "success"},
		{Failure, "any failure that has no code of its own, such as a full disk"},
		{Usage, "the command line makes no sense"},
		{NoProcess, "no such process, or it is a thread or a zombie"},
		{NotAllowed, "the kernel does not permit it, or it would make no sense to permit it"},
		{Unsupported, "the tree has something that can't be saved; all of it is listed"},
		{BadImage, "no image, a damaged one, or the record of a failed dump"},
		{BadSign, "a signature is wrong or missing, or its key is not trusted here"},
		{Refused, "the image asks for authority that nobody granted"},
		{HostDiffers, "this host is not as the image needs it: a PID is taken, a file changed, another CPU or kernel"},
		{Expired, "the image was to be restored until a time that is past"},
		{WrongClock, "the clock here stands before the image was made, or before the last restore"},
		{WrongHost, "the image is for another host"},
		{Consumed, "the image is to be restored once, and was"},
		{RolledBack, "a later image of the same lineage was restored already"},
		{WrongImage, "it is not the image that was expected, or not the child of that parent"},
		{NotAttested, "no quote by the TPM of a machine that is enrolled vouches for how it booted"},
	}
}

// Class tells errors that have an exit code of their own.
type Class struct {
	Is   func(error) bool
	Code int
}

// As matches errors of type T anywhere in a chain.
func As[T error](code int) Class {
	return Class{func(err error) bool {
		var t T
		return errors.As(err, &t)
	}, code}
}

// Is matches a sentinel anywhere in a chain.
func Is(target error, code int) Class {
	return Class{func(err error) bool { return errors.Is(err, target) }, code}
}

// coded is an error that carries its exit code.
type coded struct {
	error
	code int
}

func (c *coded) Unwrap() error { return c.error }

// Fail makes an error with an exit code, in the manner of fmt.Errorf.
func Fail(code int, format string, a ...any) error {
	return &coded{fmt.Errorf(format, a...), code}
}

// ExitCode is the code for an error: the one it carries, else that of the
// first of the command's own classes that it belongs to, then of those that
// both commands know.
func ExitCode(err error, own ...Class) int {
	if err == nil {
		return OK
	}
	var c *coded
	if errors.As(err, &c) {
		return c.code
	}
	for _, class := range append(own, common()...) {
		if class.Is(err) {
			return class.Code
		}
	}
	return Failure
}

func common() []Class {
	var out []Class
	for _, e := range []error{image.ErrFormat, image.ErrVersion, image.ErrTruncated, image.ErrDigest, image.ErrLimit, image.ErrFailedDump} {
		out = append(out, Is(e, BadImage))
	}
	out = append(out, Is(verify.ErrExpired, Expired), Is(verify.ErrFuture, WrongClock), Is(verify.ErrClock, WrongClock),
		Is(verify.ErrAudience, WrongHost), Is(verify.ErrConsumed, Consumed), Is(verify.ErrRollback, RolledBack),
		Is(verify.ErrExpect, WrongImage), Is(verify.ErrParent, WrongImage), Is(verify.ErrAttest, NotAttested))
	for _, e := range []error{verify.ErrSignature, verify.ErrNamespace, verify.ErrTooMany, verify.ErrOrder, verify.ErrUnsigned,
		verify.ErrStripped, verify.ErrUnknownSigner, verify.ErrPrincipal, verify.ErrClass, verify.ErrKeyTime, verify.ErrCertificate,
		verify.ErrRevoked, verify.ErrTrustFile, verify.ErrNoGrant} {
		out = append(out, Is(e, BadSign))
	}
	return append(out, Is(unix.ESRCH, NoProcess), Is(unix.EPERM, NotAllowed), Is(fs.ErrPermission, NotAllowed))
}

// Misuse is a command line that makes no sense.
func Misuse(format string, a ...any) error { return Fail(Usage, format, a...) }
