package dump

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// A restore may open files, and run programs, with authority that its caller
// does not have. Then it counts what is in them, not only where they are and how
// old. Only an image that names its host and a signer who can grant something
// ever comes to that, so of all others nothing is hashed.

// maxHashed bounds what is read of all files that lend no rights, in bytes: the
// tree stands still meanwhile. Of what is beyond, nothing is said.
const maxHashed = 4 * kernelio.MaxDigested

// mayGrant says whether somebody could be granted something by the image.
func mayGrant(h *image.Header) bool {
	return h.Audience != "" && h.Signer != "" && h.Class != image.ClassSelf
}

// Digest implements kind.Digests.
func (s *session) Digest(i *kind.InodeSite) ([]byte, error) {
	lends := i.Stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 || s.byHost && s.isProgram(i)
	switch {
	case !s.grants || i.Unheld || !lends && everybodys(i):
		return nil, nil
	case i.Stat.Size > kernelio.MaxDigested && lends:
		return nil, kind.Unsupportedf("a program of %d bytes, of which the rights of its processes depend: at most %d are compared", i.Stat.Size, kernelio.MaxDigested)
	case !lends && (i.Stat.Size > kernelio.MaxDigested || s.hashed+i.Stat.Size > maxHashed):
		return nil, nil
	}
	s.hashed += i.Stat.Size
	sum, err := kernelio.ContentDigest(s.held[i].fd)
	if errors.Is(err, unix.EACCES) && !lends { // of a file that this caller could not read
		return nil, nil
	}
	return sum[:], err
}

// isProgram says whether a process of the tree executes the file.
func (s *session) isProgram(i *kind.InodeSite) bool {
	for _, mm := range s.mms {
		if mm.Exe == i {
			return true
		}
	}
	return false
}

// everybodys says whether anybody could open the file as the tree has it open,
// by its permissions and those of the directories that lead to it.
func everybodys(i *kind.InodeSite) bool {
	const read, write, search = 0o4, 0o2, 0o1
	wants := uint32(0)
	for _, f := range i.Files {
		if f.Info.Flags&unix.O_PATH == 0 {
			wants |= [4]uint32{read, write, read | write, 0}[f.Info.Flags&unix.O_ACCMODE]
		}
	}
	for _, m := range i.Mappings {
		if wants |= read; m.VMA.Shared && m.VMA.Flags.Has(abi.VMFlagMayWrite) {
			wants |= write
		}
	}
	if i.Stat.Mode&wants != wants {
		return false
	}
	for dir := path.Dir(i.Path); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if st, err := kernelio.StatAt(unix.AT_FDCWD, dir); err != nil || st.Mode&search == 0 {
			return false
		}
	}
	return true
}
