package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type directoryRecord struct {
	Path []byte `cbor:"1,keyasint"`
}

// Directory claims directories. Whatever directory lies at the path serves.
func Directory() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, directoryRecord]{
		Name:   "directory",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeDirectory),
		Dump: func(_ kind.Dump, i *kind.InodeSite, _ []plan.Result) (directoryRecord, error) {
			return directoryRecord{[]byte(i.Path)}, leadsBack(i)
		},
		Check: func(r directoryRecord) error { return checkPath(r.Path) },
		Plan: func(r directoryRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Create, fmt.Sprintf("find directory %+q", r.Path),
				openObject(r.Path, unix.O_DIRECTORY, h.Self))
		},
	})
}
