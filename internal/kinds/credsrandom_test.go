package kinds

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// forge draws credentials that an image may ask for: mostly the caller's own,
// with a few things other.
func forge(r *rand.Rand, c kind.Creds) kind.Creds {
	c.Groups = slices.Clone(c.Groups)
	id := func() uint32 { return []uint32{0, 1, nobodyID, nobodyID + 1, 1<<32 - 2}[r.IntN(5)] }
	caps := func() credmap.Caps { return 1 << r.IntN(41) }
	for range r.IntN(4) {
		switch r.IntN(14) {
		case 0:
			c.UID.Real = credmap.UID(id())
		case 1:
			c.UID.Effective = credmap.UID(id())
		case 2:
			c.UID.Saved = credmap.UID(id())
		case 3:
			c.UID.FS = credmap.UID(id())
		case 4:
			c.GID.Real = credmap.GID(id())
		case 5:
			c.GID.Effective, c.GID.FS = credmap.GID(id()), credmap.GID(id())
		case 6:
			c.GID.Saved = credmap.GID(id())
		case 7:
			c.Groups = append(c.Groups, credmap.GID(id()))
			slices.Sort(c.Groups)
		case 8:
			c.Groups = nil
		case 9:
			c.Caps.Permitted |= caps()
			c.Caps.Effective |= c.Caps.Permitted & caps()
		case 10:
			c.Caps.Inheritable |= caps()
		case 11:
			c.Caps.Bounding ^= caps()
		case 12:
			c.Securebits = r.Uint32N(secKnownBits + 1)
		case 13:
			c.NoNewPrivs = true
		}
	}
	return c
}

// TestForgedCreds: credentials without a need are those that a process of the
// caller's can take on, and the kernel refuses all others: with many that were
// drawn, carried out by somebody who is nobody. Whatever comes of it, she has
// no right that she lacked.
func TestForgedCreds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can become others")
	}
	const seed = 20081022
	r := rand.New(rand.NewPCG(seed, 0))
	granted := 0
	for i := range 3000 {
		err := asNobody(t, nil, func(h *kind.Host) error {
			me := h.Caller.Creds
			want := forge(r, me)
			rec := credsRecord{want}
			if rec.check() != nil {
				return nil
			}
			steps := rec.plan(h)
			want.Groups = unique(want.Groups...)
			err := carryOut(steps)
			is, readErr := threadCreds()
			if readErr != nil {
				return readErr
			}
			free := len(demanded(steps)) == 0
			switch {
			case is.UID != me.UID || is.GID != me.GID || !slices.Equal(is.Groups, me.Groups) || !is.Caps.Permitted.Within(me.Caps.Permitted) ||
				!is.Caps.Bounding.Within(me.Caps.Bounding) || is.Caps.Inheritable != 0:
				return fmt.Errorf("%+v asked for, and nobody has become %+v (%v)", want, is, err)
			case free && (err != nil || !is.Equal(want)):
				return fmt.Errorf("%+v takes no authority, it says, and nobody has become %+v (%v)", want, is, err)
			case !free && err == nil && is.Equal(want):
				return fmt.Errorf("%+v is anybody's, and it demands %v", want, demanded(steps))
			}
			if free {
				granted++
			}
			return nil
		})
		if err != nil {
			t.Fatalf("number %d: %v", i, err)
		}
	}
	if granted < 300 {
		t.Errorf("only %d were free: hardly a test", granted)
	}
}

// threadCreds are the credentials of this thread, as the kernel says.
func threadCreds() (kind.Creds, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
	if err != nil {
		return kind.Creds{}, err
	}
	s, err := abi.ParseStatus(text)
	if err != nil {
		return kind.Creds{}, err
	}
	c := kind.CredsOf(s)
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	c.Securebits = uint32(bits)
	return c, err
}
