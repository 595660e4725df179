package kinds

import (
	"fmt"
	"path"
)

// What messages of rstr call the inodes (kind.Titled).

func aTitle(path []byte) string { return fmt.Sprintf("%+q", path) }

// Title implements kind.Titled.
func (r regfileRecord) Title() string { return aTitle(r.Path) }

// Title implements kind.Titled.
func (r directoryRecord) Title() string { return aTitle(r.Path) }

// Title implements kind.Titled.
func (r symlinkRecord) Title() string { return aTitle(r.Path) }

// Title implements kind.Titled.
func (r chardevRecord) Title() string { return aTitle(r.Path) }

// Title implements kind.Titled.
func (r fifoRecord) Title() string { return aTitle(r.Path) }

// Title implements kind.Titled.
func (r ghostRecord) Title() string {
	return aTitle([]byte(path.Join(string(r.Dir), string(r.Name)))) + " (deleted)"
}

// Title implements kind.Titled.
func (r memfdRecord) Title() string { return fmt.Sprintf("memfd %+q", r.Name) }

// Title implements kind.Titled.
func (r shmemRecord) Title() string { return fmt.Sprintf("shared memory of %d bytes", r.Size) }

// Title implements kind.Titled.
func (r hugeInodeRecord) Title() string { return fmt.Sprintf("huge pages of %d bytes", r.Size) }
