package restore

import (
	"bytes"
	"fmt"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Of some files the image says what they held: of those whose opening may take
// more than the caller's own rights, and of programs that lend theirs. That is
// compared on the descriptor that is used from then on; where the caller may read
// the file, before anything is made, too.

// digestOf is what the image says that an object held; nil: nothing.
func (c *content) digestOf(object string) []byte {
	c.digested.Do(func() {
		c.digests = map[string][]byte{}
		for i := range c.records {
			if d, ok := c.records[i].body.(kind.Digested); ok && d.Digest() != nil {
				c.digests[c.records[i].ref.String()] = d.Digest()
			}
		}
	})
	return c.digests[object]
}

// holds wants a file to hold what it did at the dump.
func holds(fd int, digest []byte) error {
	if digest == nil {
		return nil
	}
	is, err := kernelio.ContentDigest(fd)
	if err != nil {
		return fmt.Errorf("comparing its content: %w", err)
	}
	if !bytes.Equal(is[:], digest) {
		return plan.Changed{{Name: "content", Was: fmt.Sprintf("sha256:%x", digest), Is: fmt.Sprintf("sha256:%x", is)}}
	}
	return nil
}

// compare holds a file that an operation has just found against what the image
// says of it: as the caller, or else by the tracer's thread, which has what was
// granted. What she may write and not read is hers to choose, and no grant's.
func (s *session) compare(op plan.Op) error {
	if _, ok := finds(op); !ok {
		return nil
	}
	out := op.(plan.Call).Out
	digest := s.digestOf(out.String())
	f := s.files[out.String()]
	if digest == nil || f != nil && f.write && !f.read {
		return nil
	}
	look := func() error { return holds(int(s.made[out]), digest) }
	if s.opts.Elevated && f != nil && f.read {
		return aside(look)
	}
	return look()
}
