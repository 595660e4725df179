package calls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
)

// fixed knows a few names.
type fixed map[plan.Ref]int

func (f fixed) FD(r plan.Ref) (int, error) {
	if fd, ok := f[r]; ok {
		return fd, nil
	}
	return 0, fmt.Errorf("no %s", r)
}

func (f fixed) Result(r plan.Ref) (int64, error) {
	fd, err := f.FD(r)
	return int64(fd), err
}

func (fixed) PID(recorded int32) (int, error) { return int(recorded), nil }

var file = plan.Ref{Site: plan.OpenFile, ID: 7}

func do(t *testing.T, c plan.Call, n Names) plan.Result {
	t.Helper()
	r, err := Tool(c, n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pipe makes one by a plan's call and closes it with the test.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	c := plan.Call{Nr: unix.SYS_PIPE2, Args: []plan.Arg{plan.FDs(file, plan.Ref{Site: plan.OpenFile, ID: 8}), plan.Int(unix.O_CLOEXEC)}}
	named := fixed{}
	c.Named(do(t, c, nil), func(name plan.Ref, v int64) { named[name] = int(v) })
	t.Cleanup(func() { kernelio.CloseFD(named[file]); kernelio.CloseFD(named[plan.Ref{Site: plan.OpenFile, ID: 8}]) })
	return named[file], named[plan.Ref{Site: plan.OpenFile, ID: 8}]
}

// TestPointers sends bytes through a pipe by writev, whose buffer holds a
// pointer to another.
func TestPointers(t *testing.T) {
	r, w := pipe(t)
	iov := make([]byte, 16)
	binary.LittleEndian.PutUint64(iov[8:], 5)
	write := plan.Call{Nr: unix.SYS_WRITEV, Args: []plan.Arg{plan.FD(file),
		plan.Buf(iov, plan.Reloc{Off: 0, Size: 8, Arg: plan.Str("hello")}), plan.Int(1)}, Ret: plan.Exactly(5)}
	do(t, write, fixed{file: w})
	got := make([]byte, 10)
	n, err := unix.Read(r, got)
	if err != nil || string(got[:n]) != "hello" {
		t.Errorf("%q, %v", got[:n], err)
	}
	if string(iov[:8]) != "\x00\x00\x00\x00\x00\x00\x00\x00" {
		t.Error("the plan's own buffer was written to")
	}
}

func TestOutAndExpect(t *testing.T) {
	uname := plan.Call{Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Out(6 * 65)},
		Expect: []plan.Field{{Want: []byte("Linux\x00"), Name: "system"}}}
	r := do(t, uname, nil)
	if unix.ByteSliceToString(r.Out[0][:65]) != "Linux" {
		t.Errorf("%q", r.Out[0][:65])
	}
	uname.Expect[0].Want = []byte("Plan9\x00")
	var changed plan.Changed
	if _, err := Tool(uname, nil); !errors.As(err, &changed) {
		t.Errorf("expecting another system: %v", err)
	}
}

func TestNow(t *testing.T) {
	const hour = 3600 * 1e9
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	b, err := toolArg(plan.Buf(make([]byte, 16), plan.Reloc{Size: 16, Arg: plan.Now(unix.CLOCK_MONOTONIC, hour)}), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(binary.LittleEndian.Uint64(b.Buf))*1e9 + int64(binary.LittleEndian.Uint64(b.Buf[8:]))
	if late := at - ts.Nano() - hour; late < 0 || late > hour {
		t.Errorf("%d ns away from an hour from now", late)
	}
}

func TestFDPath(t *testing.T) {
	r, _ := pipe(t)
	link := do(t, plan.Call{Nr: unix.SYS_READLINK, Args: []plan.Arg{plan.FDPath(file), plan.Out(64), plan.Int(64)}}, fixed{file: r})
	want, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", r))
	if err != nil || string(link.Out[0][:link.Ret]) != want {
		t.Errorf("%q instead of %q, %v", link.Out[0][:link.Ret], want, err)
	}
}

func TestJudge(t *testing.T) {
	bad := plan.Call{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.Int(-1)}}
	if _, err := Tool(bad, nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("closing -1: %v", err)
	}
	bad.Ret.Tolerate = []uint16{uint16(unix.EBADF)}
	do(t, bad, nil)
	if _, err := Tool(plan.Call{Nr: unix.SYS_GETPID, Ret: plan.Exactly(1)}, nil); err == nil {
		t.Error("a result that was not wanted passed")
	}
	for name, c := range map[string]plan.Call{
		"a name that nothing has":    {Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.FD(file)}},
		"a value behind the buffer":  {Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Buf(make([]byte, 4), plan.Reloc{Off: 2, Size: 4})}},
		"a pointer behind its end":   {Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Buf(make([]byte, 4), plan.Reloc{Off: 0, Size: 8, Arg: plan.Str("x")})}},
		"a value of three bytes":     {Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Buf(make([]byte, 4), plan.Reloc{Size: 3})}},
		"a time in too little space": {Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Buf(make([]byte, 16), plan.Reloc{Size: 8, Arg: plan.Now(0, 0)})}},
	} {
		if _, err := Tool(c, fixed{}); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}
