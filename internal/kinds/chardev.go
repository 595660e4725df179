package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type chardevRecord struct {
	Path  []byte `cbor:"1,keyasint"`
	Major uint32 `cbor:"2,keyasint"`
	Minor uint32 `cbor:"3,keyasint"`
}

// Chardev claims the devices that keep no state: null, zero, full, random and
// urandom. It is the device numbers that make them what they are.
func Chardev() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, chardevRecord]{
		Name:   "chardev",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeDevice),
		Dump: func(_ kind.Dump, i *kind.InodeSite, _ []plan.Result) (chardevRecord, error) {
			return chardevRecord{[]byte(i.Path), unix.Major(i.Stat.Rdev), unix.Minor(i.Stat.Rdev)}, leadsBack(i)
		},
		Check: chardevRecord.check,
		Plan:  chardevRecord.plan,
	})
}

func (r chardevRecord) check() error {
	if !isMemDevice(r.Major, r.Minor) {
		return fmt.Errorf("device %d:%d", r.Major, r.Minor)
	}
	return checkPath(r.Path)
}

func (r chardevRecord) plan(h *kind.Host) []plan.Step {
	want := append([]plan.Field{wantType(unix.S_IFCHR)}, wantRdev(r.Major, r.Minor)...)
	return oneStep(plan.Create, fmt.Sprintf("find device %+q", r.Path),
		openObject(r.Path, 0, h.Self), statx(plan.FD(h.Self), want...))
}
