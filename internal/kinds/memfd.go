package kinds

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type memfdRecord struct {
	Name    []byte       `cbor:"1,keyasint,omitempty"`
	Size    int64        `cbor:"2,keyasint,omitempty"`
	Seals   uint32       `cbor:"3,keyasint,omitempty"` // F_SEAL_*
	Mode    uint32       `cbor:"4,keyasint,omitempty"`
	UID     credmap.UID  `cbor:"5,keyasint,omitempty"`
	GID     credmap.GID  `cbor:"6,keyasint,omitempty"`
	Content kind.BlobRef `cbor:"7,keyasint,omitempty"`
	Huge    uint8        `cbor:"8,keyasint,omitempty"` // log2 of the page size, of one with MFD_HUGETLB
}

const (
	memfdPrefix = "/memfd:"
	memfdMode   = 0o777 // of a new one
	// memfdName is the longest name (mm/memfd.c).
	memfdName = unix.NAME_MAX - len("memfd:")
	allSeals  = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE |
		unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC
)

// Memfd claims the files of memfd_create(2).
//
// Every one is made so that it can be sealed, and gets its seals at last: after
// its contents, its size and the mappings that may write it, which
// F_SEAL_FUTURE_WRITE allows to go on. One that cannot be sealed is just
// sealed with F_SEAL_SEAL.
func Memfd() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, memfdRecord]{
		Name:   "memfd",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeMemfd),
		Dump:   dumpMemfd,
		Check:  memfdRecord.check,
		Plan:   memfdRecord.plan,
	})
}

func dumpMemfd(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (memfdRecord, error) {
	r := memfdRecord{Name: []byte(strings.TrimPrefix(i.Path, memfdPrefix)), Size: i.Stat.Size,
		Mode: i.Stat.Mode &^ unix.S_IFMT, UID: i.Stat.UID, GID: i.Stat.GID}
	if r.Mode&^0o777 != 0 {
		return r, kind.Unsupportedf("a memfd with the permissions %#o: rstr never makes a file with set-id bits", r.Mode)
	}
	var err error
	if r.Seals, err = seals(i); err != nil {
		return r, err
	}
	if r.Huge, err = hugeShift(i); err != nil {
		return r, err
	}
	r.Content, err = content(d, i)
	return r, err
}

// seals asks for them by a descriptor of its own: the one at hand may be
// O_PATH. Where nobody has any, nothing is left to be sealed off but what the
// mappings allow, which they show themselves.
func seals(i *kind.InodeSite) (uint32, error) {
	if i.Unheld {
		return 0, nil
	}
	fd, err := i.Do(reopen(i.Ref(), unix.O_RDONLY, plan.Ref{}))
	if err != nil {
		return 0, fmt.Errorf("opening it again: %w", err)
	}
	defer closeOwn(i.Do, fd.Ret)
	n, err := fcntl(i.Do, plan.Int(fd.Ret), unix.F_GET_SEALS)
	if err != nil {
		return 0, err
	}
	if unknown := uint32(n) &^ allSeals; unknown != 0 {
		return 0, kind.Unsupportedf("a memfd with the seals %#x, of which ckpt does not know %#x", n, unknown)
	}
	return uint32(n), nil
}

func (r memfdRecord) check() error {
	switch {
	case r.Size < 0, r.Content != 0 && r.Size == 0:
		return fmt.Errorf("size %d", r.Size)
	case r.Mode&^0o777 != 0:
		return fmt.Errorf("permissions %#o", r.Mode)
	case r.Seals&^allSeals != 0:
		return fmt.Errorf("seals %#x", r.Seals)
	case r.Huge != 0 && (!goodHugeShift(r.Huge) || r.Size%(1<<r.Huge) != 0):
		return fmt.Errorf("size %d in pages of 1<<%d", r.Size, r.Huge)
	case len(r.Name) > memfdName || strings.ContainsRune(string(r.Name), 0):
		return errors.New("a name that no memfd can have")
	}
	return nil
}

func (r memfdRecord) plan(h *kind.Host) []plan.Step {
	flags, born := r.flags()
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  fmt.Sprintf("make memfd %+q", r.Name),
		Ops:   asOps(append([]plan.Call{createMemfd(r.Name, flags, h.Self)}, shape(h.Self, r.Size, born, born)...)),
	}}
	steps = append(steps, fill(h.Self, r.Content)...)
	steps = append(steps, ownership(h.Self, owner{r.Mode, r.UID, r.GID}, bornAs(h, born))...)
	if r.Seals == 0 {
		return steps
	}
	return append(steps, oneStep(plan.Settle, "seal it", plan.Call{Nr: unix.SYS_FCNTL,
		Args: []plan.Arg{plan.FD(h.Self), plan.Int(unix.F_ADD_SEALS), plan.Int(r.Seals)}, Ret: plan.Exactly(0)})...)
}

// flags of memfd_create, and the permissions that a new one has. F_SEAL_EXEC
// fixes the bits for execution, which only MFD_NOEXEC_SEAL leaves out.
func (r memfdRecord) flags() (flags int, born uint32) {
	if r.Huge != 0 {
		flags = unix.MFD_HUGETLB | int(r.Huge)<<unix.MFD_HUGE_SHIFT
	}
	if r.Seals&unix.F_SEAL_EXEC != 0 && r.Mode&0o111 == 0 {
		return flags | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL, memfdMode &^ 0o111
	}
	return flags | unix.MFD_ALLOW_SEALING, memfdMode
}

func createMemfd(name []byte, flags int, out plan.Ref) plan.Call {
	return plan.Call{Nr: unix.SYS_MEMFD_CREATE,
		Args: []plan.Arg{plan.Str(string(name)), plan.Int(flags | unix.MFD_CLOEXEC)}, Out: out}
}
