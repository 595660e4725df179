package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// MapError says which ids of an image have no place on this host.
type MapError struct{ IDs []string }

func (e *MapError) Error() string {
	return "the image has ids that nobody mapped to this host's: " + strings.Join(e.IDs, "; ")
}

// maxUnmapped is how many ids a MapError names.
const maxUnmapped = 10

// mapIDs carries all ids of the tree and its records over to this host, and
// checks the records again: what they are now, no dump has written.
func (c *content) mapIDs(m *credmap.Map) error {
	if m == nil {
		return nil
	}
	var lost []string
	seen := map[string]bool{}
	where := "the tree"
	bad := func(err error) error {
		if text := err.Error(); !seen[text] && len(lost) <= maxUnmapped {
			seen[text] = true
			lost = append(lost, fmt.Sprintf("%s (%s)", text, where))
		}
		return nil
	}
	if err := kind.MapIDs(c.tree, m, bad); err != nil {
		return err
	}
	for i := range c.records {
		r := &c.records[i]
		where = r.kind.Name() + " of " + c.nameOf(r.ref)
		if err := kind.MapIDs(r.body, m, bad); err != nil {
			return err
		}
	}
	if len(lost) > maxUnmapped {
		lost = append(slices.Clip(lost[:maxUnmapped]), "and more")
	}
	if len(lost) > 0 {
		return &MapError{lost}
	}
	return c.checkAgain()
}

func (c *content) checkAgain() error {
	for i := range c.records {
		r := &c.records[i]
		if err := r.kind.Check(r.body); err != nil {
			return bad("%s, after its ids were mapped: %w", c.nameOf(r.ref), err)
		}
	}
	return nil
}
