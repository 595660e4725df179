package kinds

import (
	"crypto/sha256"
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
	// SHA256 is of its content, where somebody's authority may hang on that.
	SHA256 []byte `cbor:"10,keyasint,omitempty"`
}

// Regfile claims regular files that have a path. Their contents stay where
// they are; a restore wants to find the file as it was: at its path, a regular
// file, of the same size and last written at the same time. The inode number
// is recorded but may differ: the image may have moved to another host, and
// programs and libraries with it. Of a set-id program more is wanted, since what
// its processes may do is lent by the file: its owner, its permissions, its
// content and, on the host of the dump, its inode.
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

func dumpRegfile(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (regfileRecord, error) {
	s := i.Stat
	r := regfileRecord{
		Path: []byte(i.Path), Size: s.Size, Mtime: s.Mtime, View: isPseudo(s.FSType),
		Dev: s.Dev, Ino: s.Ino, Mode: s.Mode &^ unix.S_IFMT, UID: credmap.SeenUID(s.UID), GID: credmap.SeenGID(s.GID),
	}
	if r.View {
		r.Size, r.Mtime = 0, 0
		return r, leadsBack(i)
	}
	if err := leadsBack(i); err != nil {
		return r, err
	}
	var err error
	if digests, ok := d.(kind.Digests); ok {
		r.SHA256, err = digests.Digest(i)
	}
	return r, err
}

// Digest implements kind.Digested.
func (r *regfileRecord) Digest() []byte { return r.SHA256 }

// Location implements kind.Located.
func (r *regfileRecord) Location() (dev, ino uint64, owner credmap.SeenUID) {
	return r.Dev, r.Ino, r.UID
}

func (r regfileRecord) check() error {
	switch {
	case r.Size < 0, r.View && (r.Size != 0 || r.Mtime != 0):
		return fmt.Errorf("size %d", r.Size)
	case len(r.SHA256) != 0 && (r.View || len(r.SHA256) != sha256.Size):
		return fmt.Errorf("a digest of %d bytes", len(r.SHA256))
	case r.Mode&^0o7777 != 0:
		return fmt.Errorf("permissions %#o", r.Mode)
	}
	return checkPath(r.Path)
}

// same is what is wanted beside of a set-id program in an image by which its
// rights may be granted.
func (r regfileRecord) same(h *kind.Host) []plan.Field {
	if r.SHA256 == nil {
		return nil
	}
	want := []plan.Field{wantOwner(uint32(r.UID)), wantGroup(uint32(r.GID))}
	if h.Here {
		want = append(want, wantIno(r.Ino))
	}
	return want
}

func (r regfileRecord) plan(h *kind.Host) []plan.Step {
	want := []plan.Field{wantType(unix.S_IFREG)}
	if r.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		want = append(want, wantSetID(r.Mode))
		want = append(want, r.same(h)...)
	}
	if !r.View {
		want = append(want, wantSize(r.Size), wantMtime(r.Mtime))
	}
	return oneStep(plan.Create, fmt.Sprintf("find %+q", r.Path),
		openObject(r.Path, 0, h.Self), statx(plan.FD(h.Self), want...))
}
