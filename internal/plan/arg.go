package plan

// ArgKind tells the forms of an Arg apart.
type ArgKind uint8

// The forms of arguments.
const (
	ArgInt    ArgKind = iota // Val itself
	ArgBuf                   // a pointer to a copy of Buf, after its Relocs
	ArgOut                   // a pointer to Buf, whose contents after the call are a result
	ArgResult                // the result named Ref
	ArgFD                    // a descriptor for the object named Ref, valid in the executing process
	ArgFDPath                // a pointer to the string "/proc/self/fd/N", N being the tool's descriptor of Ref
	ArgPID                   // the PID of the task recorded as Val, as seen by the executing process
	ArgClock                 // the CPU clock of the task recorded as Val, with the low bits Delta, as seen by the executing process
	ArgNow                   // in a Reloc of 16 bytes: the timespec of clock Val at the call, plus Delta
)

// Arg is one argument of a Call.
type Arg struct {
	Kind   ArgKind
	Val    uint64
	Buf    []byte
	Relocs []Reloc
	Ref    Ref
	Delta  int64 // nanoseconds, for ArgNow
}

// Reloc stores the value of Arg, Size bytes little-endian (4 or 8), at Off in
// the buffer before the call: pointers, descriptors and PIDs inside structs.
type Reloc struct {
	Off, Size int
	Arg       Arg
}

// Int is a plain number.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](v T) Arg {
	return Arg{Val: uint64(v)}
}

// Buf is a pointer to a copy of b.
func Buf(b []byte, relocs ...Reloc) Arg { return Arg{Kind: ArgBuf, Buf: b, Relocs: relocs} }

// Str is a pointer to s with a final NUL.
func Str(s string) Arg { return Buf(append([]byte(s), 0)) }

// Out is a pointer to n zero bytes that the kernel fills.
func Out(n int) Arg { return Arg{Kind: ArgOut, Buf: make([]byte, n)} }

// InOut is a pointer to a copy of b whose contents afterwards are a result.
func InOut(b []byte, relocs ...Reloc) Arg { return Arg{Kind: ArgOut, Buf: b, Relocs: relocs} }

// ResultOf is the result of the call whose Out is r.
func ResultOf(r Ref) Arg { return Arg{Kind: ArgResult, Ref: r} }

// FD is a descriptor of the object r in the executing process.
func FD(r Ref) Arg { return Arg{Kind: ArgFD, Ref: r} }

// FDPath is the path by which the tool reaches its own descriptor of r again
// (proc_pid_fd(5)), so that opening it makes a new description of the object.
func FDPath(r Ref) Arg { return Arg{Kind: ArgFDPath, Ref: r} }

// PID is the number by which the executing process knows the task that was
// recorded as pid.
func PID[T ~int32 | ~int | ~uint32](pid T) Arg { return Arg{Kind: ArgPID, Val: uint64(uint32(pid))} }

// CPUClock is the clockid_t by which the executing process knows the CPU clock
// of the task that was recorded as pid; bits are the lowest three of it
// (linux/posix-timers_types.h).
func CPUClock[T ~int32 | ~int | ~uint32](pid T, bits int32) Arg {
	return Arg{Kind: ArgClock, Val: uint64(uint32(pid)), Delta: int64(bits)}
}

// Now is the timespec of a clock (clock_gettime(2)) at the time of the call,
// plus delta nanoseconds.
func Now(clock int, delta int64) Arg { return Arg{Kind: ArgNow, Val: uint64(clock), Delta: delta} }
