package calls

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// Names says what the names in a call stand for, in the process that
// executes it.
type Names interface {
	FD(plan.Ref) (int, error)       // a descriptor of the object
	Result(plan.Ref) (int64, error) // what the call with this Out returned
	PID(recorded int32) (int, error)
}

// value resolves an argument that is not a pointer.
func value(a plan.Arg, n Names) (uint64, error) {
	switch a.Kind {
	case plan.ArgInt:
		return a.Val, nil
	case plan.ArgFD:
		fd, err := n.FD(a.Ref)
		return uint64(fd), err
	case plan.ArgResult:
		v, err := n.Result(a.Ref)
		return uint64(v), err
	case plan.ArgPID:
		pid, err := n.PID(int32(uint32(a.Val)))
		return uint64(pid), err
	case plan.ArgClock:
		pid, err := n.PID(int32(uint32(a.Val)))
		return uint64(uint32(^int32(pid)<<3 | int32(a.Delta))), err
	}
	return 0, fmt.Errorf("argument form %d has no value", a.Kind)
}

// isPointer says whether an argument points at a buffer.
func isPointer(a plan.Arg) bool {
	return a.Kind == plan.ArgBuf || a.Kind == plan.ArgOut || a.Kind == plan.ArgFDPath
}

// bytesOf gives the buffer that an argument points at, a fresh copy.
func bytesOf(a plan.Arg, n Names) ([]byte, error) {
	if a.Kind != plan.ArgFDPath {
		return append(make([]byte, 0, len(a.Buf)), a.Buf...), nil
	}
	fd, err := n.FD(a.Ref)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "/proc/self/fd/%d\x00", fd), nil
}

// store puts v, or for ArgNow a timespec, into a buffer.
func store(b []byte, r plan.Reloc, n Names) error {
	if err := fits(b, r); err != nil {
		return err
	}
	if r.Arg.Kind == plan.ArgNow {
		return storeNow(b[r.Off:], r)
	}
	v, err := value(r.Arg, n)
	if err != nil {
		return err
	}
	return put(b[r.Off:], r.Size, v)
}

func fits(b []byte, r plan.Reloc) error {
	if r.Off < 0 || r.Size < 0 || r.Off > len(b)-r.Size {
		return fmt.Errorf("%d bytes at %d do not fit into a buffer of %d", r.Size, r.Off, len(b))
	}
	return nil
}

func put(b []byte, size int, v uint64) error {
	switch size {
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	case 8:
		binary.LittleEndian.PutUint64(b, v)
	default:
		return fmt.Errorf("a value of %d bytes", size)
	}
	return nil
}

func storeNow(b []byte, r plan.Reloc) error {
	if r.Size != 16 {
		return fmt.Errorf("a timespec of %d bytes", r.Size)
	}
	now, err := kernelio.Clock(int32(r.Arg.Val))
	if err != nil {
		return err
	}
	at := now + r.Arg.Delta
	binary.LittleEndian.PutUint64(b, uint64(at/1e9))
	binary.LittleEndian.PutUint64(b[8:], uint64(at%1e9))
	return nil
}

// stored says whether a Reloc is stored before the call; those of plan.FDs
// are read after it.
func stored(r plan.Reloc) bool { return r.Arg.Kind != plan.ArgMade }

// judge turns a return value into an error where the call does not want it.
func judge(c plan.Call, ret int64) error {
	if ret < 0 && ret >= -4095 {
		for _, e := range c.Ret.Tolerate {
			if ret == -int64(e) {
				return nil
			}
		}
		return unix.Errno(-ret)
	}
	if c.Ret.Exact && ret != c.Ret.Want {
		return fmt.Errorf("returned %d instead of %d", ret, c.Ret.Want)
	}
	return nil
}
