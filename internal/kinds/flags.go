package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
)

// onlyFlags refuses a description whose status flags can't all be given back
// by its kind.
func onlyFlags(f *kind.FileSite, allowed uint32) error {
	if other := f.Info.Flags &^ (allowed | unix.O_CLOEXEC); other != 0 {
		return kind.Unsupportedf("the flags %#o are set, of which ckpt can't restore %#o", f.Info.Flags, other)
	}
	return nil
}

func nonBlock(f *kind.FileSite) bool { return f.Info.Flags&unix.O_NONBLOCK != 0 }
