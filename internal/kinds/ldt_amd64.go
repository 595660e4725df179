package kinds

import (
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// LDT refuses address spaces with segments of their own (modify_ldt(2)),
// which only emulators of 16-bit and 32-bit programs make.
func LDT() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, noRecord]{
		Name: "ldt",
		At:   plan.MM,
		Ask:  asks[*kind.MMSite](plan.Call{Nr: unix.SYS_MODIFY_LDT, Args: []plan.Arg{plan.Int(0), plan.Out(8), plan.Int(8)}}),
		Dump: func(_ kind.Dump, _ *kind.MMSite, asked []plan.Result) (noRecord, error) {
			// The call returns an int, so an error has 32 bits. A kernel
			// without CONFIG_MODIFY_LDT_SYSCALL has the error ENOSYS.
			if n := int32(asked[0].Ret); n > 0 {
				return noRecord{}, kind.Unsupportedf("it has a local descriptor table (modify_ldt)")
			}
			return noRecord{}, nil
		},
		Plan: func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}
