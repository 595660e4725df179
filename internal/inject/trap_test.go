package inject

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// A wait for a program ends soon if somebody kills the process, also while its
// other threads, which nobody waits for, keep its leader from being reported.
func TestKilledInTrap(t *testing.T) {
	tr := NewTracer()
	defer tr.Close()
	st, err := tr.NewStub(StubOptions{Base: stubBase, Size: stubRoom})
	if err != nil {
		t.Fatal(err)
	}
	p := NewProgram()
	args := abi.CloneArgs{Flags: unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
		unix.CLONE_SYSVSEM | unix.CLONE_PTRACE}
	h := p.Call(unix.SYS_CLONE3, p.Buf(args.Encode()).Ptr(0), N(abi.SizeofCloneArgs))
	p.Trap()
	if err := st.Space.Run(st.Thread, p); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Space.AdoptThread(int(p.Ret(h)), nil); err != nil {
		t.Fatal(err)
	}
	wait := NewProgram()
	wait.Call(unix.SYS_PAUSE)
	wait.Trap()
	if err := st.Space.Start(st.Thread, wait); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { kernelio.Kill(st.Thread.TID(), unix.SIGKILL) })
	begin := time.Now()
	if err := st.Space.Finish(st.Thread); !errors.Is(err, ErrGone) {
		t.Errorf("the end of a process that was killed: %v", err)
	}
	if took := time.Since(begin); took > programTime/2 {
		t.Errorf("that took %v", took)
	}
}

// A SIGTRAP from elsewhere is not taken for the end of a program, nor does it
// have an effect.
func TestForeignTrap(t *testing.T) {
	tr := NewTracer()
	defer tr.Close()
	st, err := tr.NewStub(StubOptions{Base: stubBase, Size: stubRoom})
	if err != nil {
		t.Fatal(err)
	}
	p := NewProgram()
	nap := p.Buf(binary.LittleEndian.AppendUint64(make([]byte, 8), uint64(100*time.Millisecond)))
	p.MustEqual(p.Call(unix.SYS_NANOSLEEP, nap.Ptr(0), N(0)), 0)
	pid := p.Call(unix.SYS_GETPID)
	p.Trap()
	if err := st.Space.Start(st.Thread, p); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { kernelio.Kill(st.Thread.TID(), unix.SIGTRAP) })
	if err := st.Space.Finish(st.Thread); err != nil || p.Ret(pid) != int64(st.Thread.TID()) {
		t.Errorf("a program that was sent a SIGTRAP: %v, its process is %d", err, p.Ret(pid))
	}
	killStub(t, st)
}
