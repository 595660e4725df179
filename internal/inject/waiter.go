package inject

import (
	"time"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// waiter paces a loop that looks for something to happen within microseconds,
// or not soon.
type waiter struct {
	turns int
	sleep time.Duration
}

// Turns that only yield, and the longest sleep after them.
const (
	yields   = 100
	maxSleep = 2 * time.Millisecond
)

func (w *waiter) pause() {
	if w.turns++; w.turns < yields {
		kernelio.Yield()
		return
	}
	w.sleep = min(w.sleep*2+10*time.Microsecond, maxSleep)
	time.Sleep(w.sleep)
}

// expired says whether the deadline has passed; it looks at the clock only
// now and then.
func (w *waiter) expired(deadline time.Time) bool {
	return (w.turns >= yields || w.turns%16 == 0) && time.Now().After(deadline)
}
