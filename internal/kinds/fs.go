package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type fsRecord struct {
	Umask uint32        `cbor:"1,keyasint"`
	Cwd   kind.InodeRef `cbor:"2,keyasint"`
	Root  []byte        `cbor:"3,keyasint,omitempty"` // its path; empty: the tool's own root
}

// FS is responsible for what CLONE_FS shares: umask, working directory and
// root.
func FS() kind.Kind {
	return kind.New(kind.Spec[*kind.FSSite, fsRecord]{
		Name:   "fs",
		At:     plan.FS,
		Claims: true,
		Dump:   dumpFS,
		Check:  fsRecord.check,
		Plan:   fsRecord.plan,
	})
}

func dumpFS(_ kind.Dump, f *kind.FSSite, _ []plan.Result) (fsRecord, error) {
	var r fsRecord
	switch {
	case f.Cwd == nil:
		return r, kind.Unsupportedf("its working directory can't be reached")
	case !f.Task.Status.HasUmask:
		return r, errors.New("status does not show its umask")
	}
	r = fsRecord{Umask: f.Task.Status.Umask, Cwd: f.Cwd.Ref()}
	if f.Root != nil && f.Root.Path != "/" {
		r.Root = []byte(f.Root.Path)
	}
	return r, nil
}

func (r fsRecord) check() error {
	if r.Umask > 0o777 {
		return errors.New("the umask has bits beyond the permissions")
	}
	if r.Cwd == 0 {
		return errors.New("no working directory")
	}
	if len(r.Root) > 0 {
		return checkPath(r.Root)
	}
	return nil
}

// plan changes the umask late, lest it change the modes of what is made before
// it, and the root last: nothing of /proc may be found below it.
func (r fsRecord) plan(h *kind.Host) []plan.Step {
	steps := []plan.Step{
		{Stage: plan.Connect, Text: "change to the working directory",
			Needs: []plan.Need{{Demand: fmt.Sprintf("file:%v:x", r.Cwd.Main()), Why: "it is its working directory"}},
			Ops:   []plan.Op{inTask(h, unix.SYS_FCHDIR, plan.FD(r.Cwd.Main()))}},
		{Stage: plan.Arm, Text: "set the umask",
			Ops: []plan.Op{inTask(h, unix.SYS_UMASK, plan.Int(r.Umask))}},
	}
	if len(r.Root) == 0 {
		return steps
	}
	return append(steps, plan.Step{Stage: plan.Creds, Text: fmt.Sprintf("make %+q its root directory", r.Root),
		Needs: []plan.Need{{Demand: "root-dir", Why: "it has a root directory of its own"}},
		Ops:   []plan.Op{inTask(h, unix.SYS_CHROOT, plan.Str(string(r.Root)))}})
}
