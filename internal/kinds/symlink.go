package kinds

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type symlinkRecord struct {
	Path   []byte `cbor:"1,keyasint"`
	Target []byte `cbor:"2,keyasint"` // readlink(2)
}

// Symlink claims symbolic links themselves, which only O_PATH | O_NOFOLLOW can
// open. A restore wants to find a link at the path that leads to the same.
func Symlink() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, symlinkRecord]{
		Name:   "symlink",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeSymlink),
		Dump:   dumpSymlink,
		Check:  symlinkRecord.check,
		Plan:   symlinkRecord.plan,
	})
}

func dumpSymlink(_ kind.Dump, i *kind.InodeSite, _ []plan.Result) (symlinkRecord, error) {
	r, err := i.Do(readlink(i.Ref().Main(), unix.PathMax))
	if err != nil {
		return symlinkRecord{}, fmt.Errorf("reading the link: %w", err)
	}
	return symlinkRecord{[]byte(i.Path), r.Out[0][:r.Ret]}, leadsBack(i)
}

// readlink reads up to n bytes of a link that the tool holds a descriptor of.
func readlink(link plan.Ref, n int) plan.Call {
	return plan.Call{Nr: unix.SYS_READLINKAT, Args: []plan.Arg{plan.FD(link), plan.Str(""), plan.Out(n), plan.Int(n)}}
}

func (r symlinkRecord) check() error {
	if len(r.Target) == 0 || len(r.Target) >= unix.PathMax || bytes.IndexByte(r.Target, 0) >= 0 {
		return errors.New("no target")
	}
	return checkPath(r.Path)
}

// plan reads one byte more than there should be, to see that no more is there.
func (r symlinkRecord) plan(h *kind.Host) []plan.Step {
	read := readlink(h.Self, len(r.Target)+1)
	read.Expect = []plan.Field{{Want: append(bytes.Clone(r.Target), 0), Name: "target", Form: plan.Text}}
	return oneStep(plan.Create, fmt.Sprintf("find the symbolic link %+q", r.Path),
		openObject(r.Path, 0, h.Self), statx(plan.FD(h.Self), wantType(unix.S_IFLNK)), read)
}
