package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type regfileRecord struct {
	Path  []byte `cbor:"1,keyasint"`
	Size  int64  `cbor:"2,keyasint,omitempty"`
	Mtime int64  `cbor:"3,keyasint,omitempty"` // nanoseconds since the epoch
	View  bool   `cbor:"4,keyasint,omitempty"` // of /proc and the like: size and time mean nothing
	Dev   uint64 `cbor:"5,keyasint,omitempty"`
	Ino   uint64 `cbor:"6,keyasint,omitempty"`
	Mode  uint32 `cbor:"7,keyasint,omitempty"` // permissions
	// UID and GID are whose it was.
	UID credmap.SeenUID `cbor:"8,keyasint,omitempty"`
	GID credmap.SeenGID `cbor:"9,keyasint,omitempty"`
}

// Regfile claims regular files that have a path. Their contents stay where
// they are; a restore wants to find the file as it was: at its path, a regular
// file, of the same size and last written at the same time. The inode number
// is recorded but may differ: the image may have moved to another host, and
// programs and libraries with it.
func Regfile() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, regfileRecord]{
		Name:   "regfile",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeRegular),
		Dump:   dumpRegfile,
		Check:  regfileRecord.check,
		Plan:   regfileRecord.plan,
	})
}

func dumpRegfile(_ kind.Dump, i *kind.InodeSite, _ []plan.Result) (regfileRecord, error) {
	s := i.Stat
	r := regfileRecord{
		Path: []byte(i.Path), Size: s.Size, Mtime: s.Mtime, View: isPseudo(s.FSType),
		Dev: s.Dev, Ino: s.Ino, Mode: s.Mode &^ unix.S_IFMT, UID: credmap.SeenUID(s.UID), GID: credmap.SeenGID(s.GID),
	}
	if r.View {
		r.Size, r.Mtime = 0, 0
	}
	return r, leadsBack(i)
}

// Location implements kind.Located.
func (r *regfileRecord) Location() (dev, ino uint64, owner credmap.SeenUID) {
	return r.Dev, r.Ino, r.UID
}

func (r regfileRecord) check() error {
	switch {
	case r.Size < 0, r.View && (r.Size != 0 || r.Mtime != 0):
		return fmt.Errorf("size %d", r.Size)
	case r.Mode&^0o7777 != 0:
		return fmt.Errorf("permissions %#o", r.Mode)
	}
	return checkPath(r.Path)
}

func (r regfileRecord) plan(h *kind.Host) []plan.Step {
	want := []plan.Field{wantType(unix.S_IFREG)}
	if r.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		want = append(want, wantSetID(r.Mode))
	}
	if !r.View {
		want = append(want, wantSize(r.Size), wantMtime(r.Mtime))
	}
	return oneStep(plan.Create, fmt.Sprintf("find %+q", r.Path),
		openObject(r.Path, 0, h.Self), statx(plan.FD(h.Self), want...))
}
