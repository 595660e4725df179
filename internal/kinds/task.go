package kinds

import (
	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Task is responsible for a process as such. The engine makes it, and every
// property that it has is a kind of its own; what is left are the processes
// that can't be saved at all.
//
// Some state no kind keeps, since the kernel does not show it or it belongs to
// the place and not to the process: the cgroups, the session keyring and the
// login of the audit system become rstr's own; Landlock rules and the right to
// use all I/O ports (iopl(2)) are lost, and so are a session's controlling
// terminal and the memory policies of single mappings (mbind(2)); the CPU time
// used, the other accounting, and timer overruns begin anew.
func Task() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, noRecord]{
		Name:   "task",
		At:     plan.Task,
		Claims: true,
		Dump: func(_ kind.Dump, t *kind.TaskSite, _ []plan.Result) (noRecord, error) {
			return noRecord{}, impossibleTask(t)
		},
		Plan: func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

func impossibleTask(t *kind.TaskSite) error {
	s := t.Status
	switch {
	case s.Kthread || t.Stat.Flags&abi.PFKthread != 0:
		return kind.Unsupportedf("it is a thread of the kernel")
	case s.CoreDumping:
		return kind.Unsupportedf("it is dying and writes its core")
	case s.X86Features != "":
		return &kind.Unsupported{Why: "it uses a shadow stack (" + s.X86Features + ")",
			Hint: "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"}
	case s.HasMM && s.UntagMask != 0 && s.UntagMask != ^uint64(0):
		return kind.Unsupportedf("it uses tagged addresses (untag mask %#x)", s.UntagMask)
	}
	return nil
}
