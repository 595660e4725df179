package kernelio

import (
	"fmt"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
)

// TakeOn makes the credentials c this thread's. Its goroutine must be locked
// to it and end so: nobody else may ever run there. The bounding set and
// no_new_privs stay.
func TakeOn(c Credentials) error {
	was, err := ThreadCredentials()
	if err != nil {
		return err
	}
	if err := become(&was, &c, thisThread); err != nil {
		return fmt.Errorf("take on user %d, group %d in a thread: %w", c.UID.Effective, c.GID.Effective, err)
	}
	is, err := ThreadCredentials()
	want := c
	want.Bounding, want.NoNewPrivs = was.Bounding, was.NoNewPrivs
	if err == nil && !is.Equal(&want) {
		err = fmt.Errorf("take on credentials: the thread has %+v and not %+v", is, want)
	}
	return err
}

// AsRoot runs f on a thread of its own as root, with all capabilities that
// this process is permitted, and ends that thread.
func AsRoot(f func() error) error {
	return onThrowawayThread(func() error {
		was, err := ThreadCredentials()
		if err != nil {
			return err
		}
		if err := TakeOn(Credentials{Permitted: was.Permitted, Effective: was.Permitted}); err != nil {
			return err
		}
		return f()
	})
}

// Hand is a thread that wears credentials of its own, for more than one
// occasion.
type Hand struct {
	work  chan func()
	ended chan error
}

// NewHand starts the thread.
func NewHand(c Credentials) (*Hand, error) {
	h := &Hand{work: make(chan func()), ended: make(chan error, 1)}
	ready := make(chan error, 1)
	go func() {
		h.ended <- onThrowawayThread(func() error {
			err := TakeOn(c)
			ready <- err
			if err != nil {
				return err
			}
			for f := range h.work {
				f()
			}
			return nil
		})
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return h, nil
}

// Do runs f on the thread.
func (h *Hand) Do(f func() error) (err error) {
	done := make(chan struct{})
	h.work <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}

// Close ends the thread and waits until it has ended.
func (h *Hand) Close() {
	close(h.work)
	<-h.ended
}

// Restrict leaves this process no capabilities but these among those that it
// is permitted, in every thread and for good. What is effective stays so
// otherwise.
func Restrict(caps abi.CapSet) error {
	was, err := OwnCredentials()
	if err != nil {
		return err
	}
	want := was
	want.Permitted &= caps
	want.Effective &= caps
	want.Inheritable &= caps
	want.Ambient &= caps
	return failed(becomeAll(&was, &want), "restrict capabilities to", fmt.Sprintf("%#x", uint64(caps)))
}

// Alike waits until all threads of this process have the same credentials: a
// thread that wore others, and was told to end, takes a moment.
func Alike(limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Microsecond) {
		_, err := OwnCredentials()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
