package kinds

import (
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/plan"
)

// perform carries out the calls of a plan in this very thread, whatever site
// they name, up to the first that fails.
func perform(calls []plan.Call) ([]plan.Result, error) {
	var done []plan.Result
	named := map[plan.Ref]int64{}
	for _, c := range calls {
		c.Args = slices.Clone(c.Args)
		for i, a := range c.Args {
			if a.Kind == plan.ArgResult {
				c.Args[i] = plan.Int(named[a.Ref])
			}
		}
		res, err := performOne(c)
		if err != nil {
			return done, err
		}
		named[c.Out] = res.Ret
		done = append(done, res)
	}
	return done, nil
}

func performOne(c plan.Call) (plan.Result, error) {
	var res plan.Result
	var word [6]uintptr
	var pin runtime.Pinner
	defer pin.Unpin()
	for i, a := range c.Args {
		word[i] = uintptr(a.Val)
		if a.Kind != plan.ArgBuf && a.Kind != plan.ArgOut {
			continue
		}
		b := append([]byte{}, a.Buf...)
		for _, r := range a.Relocs {
			relocate(b, r)
		}
		word[i] = 0
		if len(b) > 0 {
			pin.Pin(&b[0])
			word[i] = uintptr(unsafe.Pointer(&b[0]))
		}
		if a.Kind == plan.ArgOut {
			res.Out = append(res.Out, b)
		}
	}
	r, _, errno := unix.RawSyscall6(c.Nr, word[0], word[1], word[2], word[3], word[4], word[5])
	if errno != 0 {
		return res, os.NewSyscallError(abi.SyscallName(c.Nr), errno)
	}
	res.Ret = int64(r)
	if c.Ret.Exact && res.Ret != c.Ret.Want {
		return res, os.NewSyscallError(abi.SyscallName(c.Nr)+" returned something else", unix.EINVAL)
	}
	return res, nil
}

// relocate stores a PID as it is, and the time plus what is to be added.
func relocate(b []byte, r plan.Reloc) {
	if r.Arg.Kind != plan.ArgNow {
		binary.LittleEndian.PutUint32(b[r.Off:], uint32(r.Arg.Val))
		return
	}
	var now unix.Timespec
	unix.ClockGettime(int32(r.Arg.Val), &now)
	copy(b[r.Off:], timespec(now.Nano()+r.Arg.Delta).Encode())
}

// performPlan carries out the calls of all steps.
func performPlan(steps []plan.Step) error {
	var calls []plan.Call
	for _, s := range steps {
		for _, op := range s.Ops {
			calls = append(calls, op.(plan.Call))
		}
	}
	_, err := perform(calls)
	return err
}

// aside runs f in a thread that dies with it, so that f may change whatever a
// thread has of its own.
func aside(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		// The runtime preempts by SIGURG, and expects its own signal stack.
		urgent := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGURG - 1)}}
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
			t.Error(err)
		}
		f()
	}()
	<-done
}
