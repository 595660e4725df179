package inject

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A stub that has executed a file runs programs as before, and its exe link
// leads to that file.
func TestExec(t *testing.T) {
	tr := NewTracer()
	defer tr.Close()
	exe, err := os.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	b, err := NewBarrier()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	st, err := tr.NewStub(StubOptions{Base: 0x10_0000_0000, Size: 1 << 20, Files: []int{int(exe.Fd()), b.FD()}, Barrier: b})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Proc.Wait()
	defer st.Proc.Kill()
	if err := st.Space.Exec(st.Thread, 7); !errors.Is(err, unix.EBADF) {
		t.Errorf("executing nothing: %v", err)
	}
	{
		if err := st.Space.Exec(st.Thread, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(gets(st), st.Space.MapBarrier(st.Thread, 1)); err != nil {
			t.Fatal(err)
		}

	}
	want, _ := os.Stat("/bin/true")
	is, err := os.Stat("/proc/" + strconv.Itoa(st.Thread.PID()) + "/exe")
	if err != nil || !os.SameFile(is, want) {
		t.Errorf("it executes %v (%v)", is, err)
	}
}

// gets has the stub ask for its own number.
func gets(st *Stub) error {
	p := NewProgram()
	p.MustEqual(p.Call(unix.SYS_GETPID), uint64(st.Thread.PID()))
	return st.Space.Run(st.Thread, p)
}

// Threads that end at once use up one number after another.
func TestSpin(t *testing.T) {
	tr := NewTracer()
	defer tr.Close()
	st, err := tr.NewStub(StubOptions{Base: 0x10_0000_0000, Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Proc.Wait()
	defer st.Proc.Kill()
	spin := func(stop, most int) int {
		p := NewProgram()
		h := p.Spin(stop, most)
		if err := errors.Join(st.Space.Run(st.Thread, p), gets(st)); err != nil {
			t.Fatal(err)
		}
		return int(p.Ret(h))
	}
	first := spin(0, 1)
	begin := time.Now()
	last := spin(0, 1000)
	t.Logf("from %d to %d in %v", first, last, time.Since(begin))
	if last < first+1000 && last > first {
		t.Errorf("1000 threads after the one that was %d comes %d", first, last)
	}
	// What others start meanwhile may take the number.
	hit := false
	for range 20 {
		stop := spin(0, 1) + 50
		hit = hit || spin(stop, 60) == stop
	}
	if !hit {
		t.Error("it never stops")
	}
}
