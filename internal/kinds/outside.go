package kinds

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Outside refuses what a process outside of the tree has as well: a restore
// would make another one, and the two would no longer be connected. Standard
// streams that lead out, files and terminals may be shared with anybody.
func Outside() kind.Kind {
	return refusal("outside", plan.OpenFile,
		func(f *kind.FileSite) bool {
			if f.Outside == "" {
				return false
			}
			switch classOf(f) {
			case classPipeEnd, classEventfd, classEpoll, classTimerfd, classSignalfd, classInotify:
				return true
			case classSocket:
				return !isSocket(socketStream)(f) && !isSocket(socketUnsupported)(f)
			}
			return false
		},
		func(f *kind.FileSite) *kind.Unsupported { return sharedOutside(f.Outside) })
}

// OutsideMemory refuses memory that a process outside of the tree has mapped.
func OutsideMemory() kind.Kind {
	return refusal("outsidememory", plan.Inode,
		func(i *kind.InodeSite) bool {
			if i.Outside == "" {
				return false
			}
			switch inodeClassOf(i) {
			case inodeShmem, inodeMemfd, inodeHugeVM, inodeGhost:
				return true
			}
			return false
		},
		func(i *kind.InodeSite) *kind.Unsupported { return sharedOutside(i.Outside) })
}

func sharedOutside(with string) *kind.Unsupported {
	return &kind.Unsupported{
		Why:  fmt.Sprintf("%s, outside of the tree, has it too", with),
		Hint: "dump the tree from that process on, or have it close what the program does not need",
	}
}
