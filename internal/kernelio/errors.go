package kernelio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// failed says which call failed on which object, or gives nil for nil.
func failed(err error, call string, object ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", call, fmt.Sprint(object...), err)
}

// again repeats f while a signal interrupts it.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// againFor is again for a call with a result.
func againFor[T any](f func() (T, error)) (v T, err error) {
	err = again(func() error {
		v, err = f()
		return err
	})
	return v, err
}
