package calls

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// Tool executes c in this process. An error wraps the errno; the Result is
// valid even then.
func Tool(c plan.Call, n Names) (plan.Result, error) {
	args := make([]kernelio.Arg, len(c.Args))
	var out [][]byte
	for i, a := range c.Args {
		arg, err := toolArg(a, n)
		if err != nil {
			return plan.Result{}, fmt.Errorf("%s: argument %d: %w", abi.SyscallName(c.Nr), i+1, err)
		}
		if a.Kind == plan.ArgOut {
			out = append(out, arg.Buf)
		}
		args[i] = arg
	}
	ret, _ := kernelio.Syscall(c.Nr, args...)
	r := plan.Result{Ret: ret, Out: out}
	if err := judge(c, ret); err != nil {
		return r, fmt.Errorf("%s: %w", abi.SyscallName(c.Nr), err)
	}
	return r, plan.Compare(c.Expect, out)
}

func toolArg(a plan.Arg, n Names) (kernelio.Arg, error) {
	if !isPointer(a) {
		v, err := value(a, n)
		return kernelio.Int(v), err
	}
	b, err := bytesOf(a, n)
	if err != nil {
		return kernelio.Arg{}, err
	}
	var pointers []kernelio.Reloc
	for _, r := range a.Relocs {
		if !stored(r) {
			continue
		}
		if !isPointer(r.Arg) {
			if err := store(b, r, n); err != nil {
				return kernelio.Arg{}, err
			}
			continue
		}
		if err := fits(b, r); err != nil {
			return kernelio.Arg{}, err
		}
		inner, err := toolArg(r.Arg, n)
		if err != nil {
			return kernelio.Arg{}, err
		}
		pointers = append(pointers, kernelio.Reloc{Off: r.Off, Size: r.Size, Arg: inner})
	}
	return kernelio.Buf(b, pointers...), nil
}
