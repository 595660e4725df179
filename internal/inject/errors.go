package inject

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrGone says that the thread has ended. Any method of a Thread may
	// return an error that wraps it.
	ErrGone = errors.New("the thread has ended")
	// ErrHealed says that a program took so long to come to its end, or the
	// tool to notice, that the thread has gone back to its own business. The
	// thread is unharmed but no longer frozen in the state that was seen.
	ErrHealed = errors.New("the thread ran on because the tool did not keep up")
	// ErrDeadline says that a thread did not stop in time.
	ErrDeadline = errors.New("it did not stop in time")
	// ErrLeft says that a process was released with the stub's memory still
	// mapped.
	ErrLeft = errors.New("the stub's memory stays mapped in process")
)

// ZombieError is returned for a thread that has ended but is not reaped.
type ZombieError struct{ TID int }

func (e *ZombieError) Error() string { return fmt.Sprintf("task %d is a zombie", e.TID) }

// TracedError is returned for a thread that has another tracer.
type TracedError struct{ TID, By int }

func (e *TracedError) Error() string {
	return fmt.Sprintf("task %d is traced by process %d", e.TID, e.By)
}

// BarredError says why no program can run in a thread.
type BarredError struct{ Why error }

func (e *BarredError) Error() string { return e.Why.Error() }

// Unwrap gives the reason.
func (e *BarredError) Unwrap() error { return e.Why }

// CallError is a call of a Program that had another result than allowed; the
// calls after it were not made.
type CallError struct {
	Handle Handle
	Nr     uintptr
	Args   [6]uint64
	Ret    int64
}

// Errno is the error of the call, 0 if it succeeded with a wrong result.
func (e *CallError) Errno() unix.Errno {
	if e.Ret < 0 && e.Ret >= -4095 {
		return unix.Errno(-e.Ret)
	}
	return 0
}

// Unwrap gives the errno, for errors.Is.
func (e *CallError) Unwrap() error {
	if n := e.Errno(); n != 0 {
		return n
	}
	return nil
}

func (e *CallError) Error() string {
	var args []string
	for _, a := range e.Args {
		args = append(args, fmt.Sprintf("%#x", a))
	}
	s := fmt.Sprintf("call %d of the program: system call %d(%s)", e.Handle, e.Nr, strings.Join(args, ", "))
	if n := e.Errno(); n != 0 {
		return s + ": " + n.Error()
	}
	return fmt.Sprintf("%s returned %d", s, e.Ret)
}
