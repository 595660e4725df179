package inject

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// startOther starts testdata/other.c in a mode and returns its PID and the
// words that it printed on its first line.
func startOther(t *testing.T, mode string) (int, []string, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(build(t, "other"), mode)
	out := bufio.NewReader(must[*os.File](t)(pipeTo(cmd)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	})
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.Fields(line), out
}

// pipeTo connects the command's output to a pipe and makes it the leader of a
// process group.
func pipeTo(cmd *exec.Cmd) (*os.File, error) {
	r, w, err := os.Pipe()
	cmd.Stdout = w
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	return r, err
}

// treeLister lists all threads of a process and of its descendants.
func treeLister(pid int) func() ([]int, error) {
	return func() (all []int, err error) {
		pids := []int{pid}
		for len(pids) > 0 {
			tids, err := lister(pids[0])()
			pids = pids[1:]
			if kernelio.IsGone(err) {
				continue
			}
			for _, tid := range tids {
				b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(tid), "task", strconv.Itoa(tid), "children"))
				for _, f := range strings.Fields(string(b)) {
					n, _ := strconv.Atoi(f)
					pids = append(pids, n)
				}
			}
			all = append(all, tids...)
		}
		return all, nil
	}
}

func TestFreezeStopped(t *testing.T) {
	tg := startTarget(t, build(t, "target"), "calls", "naps")
	unix.Kill(tg.pid(), unix.SIGSTOP)
	awaitState(t, tg.pid(), "T (stopped)")
	before := tg.beats()
	tr := newTracer(t)
	for range 20 {
		f := must[*Frozen](t)(tr.Freeze(lister(tg.pid()), 0, soon()))
		th := f.Threads[tg.pid()]
		if st := th.Stop(); st.Kind != StopGroup || st.Signal != unix.SIGSTOP {
			t.Fatalf("stopped as %+v", st)
		}
		s := must[*Space](t)(Open(th, 128<<10))
		for _, th := range f.Threads {
			if err := s.Run(th, asks()); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Close(), f.Thaw()); err != nil {
			t.Fatal(err)
		}
		awaitState(t, tg.pid(), "T (stopped)")
	}
	if tg.beats() != before {
		t.Error("it ran while it was stopped")
	}
}

// Tools that die while their target is stopped leave it on its way out of one
// Space into the next.
func TestToolKilledWhileStopped(t *testing.T) {
	tg := startTarget(t, build(t, "target"), "calls", "compute", "naps")
	for range 10 {
		unix.Kill(tg.pid(), unix.SIGSTOP)
		awaitState(t, tg.pid(), "T (stopped)")
		before := tg.beats()
		for range 5 {
			runTool(t, "dump", 5*time.Millisecond, strconv.Itoa(tg.pid()))
			awaitState(t, tg.pid(), "T (stopped)")
		}
		if tg.beats() != before {
			t.Error("it ran while it was stopped")
		}
		unix.Kill(tg.pid(), unix.SIGCONT)
		tg.beating()
	}
}

// A child of vfork that has not called execve yet keeps its parent from
// stopping; it must be let go until it does, with those for whom it waits.
func TestFreezeVfork(t *testing.T) {
	for _, mode := range []string{"vfork", "vfork-nested", "vfork-waits", "vfork-listens"} {
		t.Run(mode, func(t *testing.T) { freezeVfork(t, mode) })
	}
}

func freezeVfork(t *testing.T, mode string) {
	pid, _, _ := startOther(t, mode)
	tr := newTracer(t)
	for range 8 {
		f := must[*Frozen](t)(tr.Freeze(treeLister(pid), 0, soon()))
		if f.Threads[pid] == nil {
			t.Fatal("the parent is not frozen")
		}
		for _, th := range f.Threads {
			if th.Stop().Kind != StopEvent {
				t.Errorf("thread %d stopped as %+v", th.TID(), th.Stop())
			}
		}
		if err := f.Thaw(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(70 * time.Millisecond) // so that it is met at another place
	}
}

func TestFreezeGivesUp(t *testing.T) {
	pid, _, _ := startOther(t, "vfork-forever")
	awaitState(t, pid, "D")
	tr := newTracer(t)
	_, err := tr.Freeze(treeLister(pid), 0, time.Now().Add(200*time.Millisecond))
	if !errors.Is(err, ErrDeadline) {
		t.Fatalf("error %v", err)
	}
	if st, err := readStatus(pid); err != nil || st.state != 'D' {
		t.Errorf("state %c, %v", st.state, err)
	}
}

func TestFreezeManyNew(t *testing.T) {
	pid, _, _ := startOther(t, "spawn")
	tr := newTracer(t)
	for range 20 {
		f := must[*Frozen](t)(tr.Freeze(lister(pid), 0, soon()))
		tids, _ := lister(pid)()
		for _, tid := range tids {
			if f.Threads[tid] == nil && !f.zombie[tid] {
				if st, err := readStatus(tid); err == nil && st.state != 'Z' && st.state != 'X' {
					t.Fatalf("thread %d (%c) is not frozen", tid, st.state)
				}
			}
		}
		if err := f.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSeizeErrors(t *testing.T) {
	tr := newTracer(t)
	_, words, _ := startOther(t, "zombie")
	child, _ := strconv.Atoi(words[0])
	awaitState(t, child, "Z")
	var zombie *ZombieError
	if _, err := tr.Seize(child, 0); !errors.As(err, &zombie) || zombie.TID != child {
		t.Errorf("a zombie: %v", err)
	}
	if _, err := tr.Seize(freePID(t), 0); !errors.Is(err, ErrGone) {
		t.Errorf("nobody: %v", err)
	}
	pid := startPause(t)
	must[*Thread](t)(newTracer(t).Seize(pid, 0))
	var traced *TracedError
	if _, err := tr.Seize(pid, 0); !errors.As(err, &traced) || traced.By == 0 {
		t.Errorf("a traced one: %v", err)
	}
}

func startPause(t *testing.T) int {
	t.Helper()
	pid, _, _ := startOther(t, "pause")
	return pid
}

// A leader that has ended before its threads is a zombie; programs run in
// another thread.
func TestLeaderGone(t *testing.T) {
	pid, _, _ := startOther(t, "leader-gone")
	awaitState(t, pid, "Z")
	tr := newTracer(t)
	f := must[*Frozen](t)(tr.Freeze(lister(pid), 0, soon()))
	if len(f.Zombies) != 1 || f.Zombies[0] != pid || len(f.Threads) != 1 {
		t.Fatalf("zombies %v, threads %v", f.Zombies, f.Threads)
	}
	for _, th := range f.Threads {
		s := must[*Space](t)(Open(th, 64<<10))
		t.Logf("window: %q", s.Window())
		p := NewProgram()
		h := p.Call(unix.SYS_GETTID)
		if err := s.Run(th, p); err != nil || p.Ret(h) != int64(th.TID()) {
			t.Errorf("%v, gettid %d", err, p.Ret(h))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := f.Thaw(); err != nil {
		t.Error(err)
	}
}

// A signal with a handler that comes while the thread is frozen must end the
// call that it waits in.
func TestSignalWhileFrozen(t *testing.T) {
	pid, _, out := startOther(t, "handler")
	time.Sleep(10 * time.Millisecond)
	tr := newTracer(t)
	f := must[*Frozen](t)(tr.Freeze(lister(pid), 0, soon()))
	th := f.Threads[pid]
	if r := got(th.Regs())(t); r.InSyscall() || r.Rax != unix.SYS_EPOLL_WAIT {
		t.Errorf("epoll_wait is not put back: rax %d, orig_rax %d", int64(r.Rax), int64(r.OrigRax))
	}
	s := must[*Space](t)(Open(th, 64<<10))
	unix.Kill(pid, unix.SIGUSR1)
	if err := s.Run(th, asks()); err != nil {
		t.Fatal(err)
	}
	if list := got(th.PeekSignals(true))(t); len(list) != 1 || list[0].Signo != int32(unix.SIGUSR1) || list[0].PID != int32(os.Getpid()) {
		t.Errorf("pending: %+v", list)
	}
	if err := errors.Join(s.Close(), f.Thaw()); err != nil {
		t.Fatal(err)
	}
	line, err := out.ReadString('\n')
	if err != nil || line != "handled, EINTR\n" {
		t.Errorf("it says %q, %v", line, err)
	}
}

func got[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		return must[T](t)(v, err)
	}
}

// Programs run, and so does the target after, under a seccomp filter that
// allows next to nothing, with all memory locked, and where no memory may be
// both writable and executable.
func TestUnderRules(t *testing.T) {
	for _, mode := range []string{"seccomp", "mlockall", "mdwe"} {
		t.Run(mode, func(t *testing.T) {
			pid, _, out := startOther(t, mode)
			tr := newTracer(t)
			for i := range 20 {
				if err := injectOnce(tr, pid, false); err != nil {
					t.Fatal(i, err)
				}
			}
			for range 3 {
				if _, err := out.ReadString('\n'); err != nil {
					t.Fatalf("the target ended: %v", err)
				}
			}
		})
	}
}

// A thread that is killed while it runs programs takes nothing with it that
// the tool would stumble over.
func TestKilledWhileInjected(t *testing.T) {
	pid, _, _ := startOther(t, "spawn")
	tr := newTracer(t)
	f := must[*Frozen](t)(tr.Freeze(lister(pid), 0, soon()))
	s := must[*Space](t)(Open(f.Threads[pid], 1<<20))
	for _, th := range f.Threads {
		if err := s.Start(th, asks()); err != nil {
			t.Fatal(err)
		}
	}
	unix.Kill(pid, unix.SIGKILL)
	for _, th := range f.Threads {
		if err := s.Finish(th); err != nil && !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}
	if err := errors.Join(s.Close(), f.Thaw()); err != nil {
		t.Error(err)
	}
	// The tracer is the parent here: it may have reaped the process.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if st, err := readStatus(pid); err != nil || st.state == 'Z' {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the process is still there")
		}
	}
}

// What a program leaves of registers, mask and pending signals is checked by
// the targets; here that the memory of the stack is as it was.
func TestStackUntouched(t *testing.T) {
	tg := startTarget(t, build(t, "target"), "naps")
	tr := newTracer(t)
	f := must[*Frozen](t)(tr.Freeze(lister(tg.pid()), 0, soon()))
	before := stackOf(t, tg.pid())
	s := must[*Space](t)(Open(f.Threads[tg.pid()], 64<<10))
	if string(stackOf(t, tg.pid())) == string(before) {
		t.Error("there are no frames in the stack")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if string(stackOf(t, tg.pid())) != string(before) {
		t.Error("the stack has changed")
	}
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(tg.board[boardFailed:]); n != 0 {
		t.Error("the target failed")
	}
}

func stackOf(t *testing.T, pid int) []byte {
	t.Helper()
	for _, v := range got(readMaps(pid))(t) {
		if v.Path == "[stack]" {
			mem := must[*os.File](t)(os.Open("/proc/" + strconv.Itoa(pid) + "/mem"))
			defer mem.Close()
			b := make([]byte, v.Len())
			must[int](t)(mem.ReadAt(b, int64(v.Start)))
			return b
		}
	}
	t.Fatal("no stack")
	return nil
}

// A thread that calls execve takes the number of its process's first one. The
// kernel lets nobody seize the process meanwhile, and waits for the tracer of
// those that die of it: that must not wait for the kernel.
func TestFreezeExec(t *testing.T) {
	for _, mode := range []string{"exec-first", "exec-other", "exec-vfork"} {
		t.Run(mode, func(t *testing.T) { freezeExec(t, mode) })
	}
}

func freezeExec(t *testing.T, mode string) {
	pid, _, out := startOther(t, mode)
	var lines atomic.Int64
	go func() {
		for _, err := out.ReadString('\n'); err == nil; _, err = out.ReadString('\n') {
			lines.Add(1)
		}
	}()
	tr := newTracer(t)
	for i := range 250 {
		time.Sleep(time.Duration(i%13) * 200 * time.Microsecond)
		f, err := tr.Freeze(treeLister(pid), 0, soon())
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		before := lines.Load()
		for _, tid := range must[[]int](t)(treeLister(pid)()) {
			if st, err := readStatus(tid); err == nil && st.state != 't' && st.state != 'Z' {
				t.Fatalf("%d: task %d is %c, traced by %d", i, tid, st.state, st.tracer)
			}
			if f.Threads[tid] == nil && !f.zombie[tid] {
				t.Fatalf("%d: task %d is not frozen", i, tid)
			}
		}
		for tid, th := range f.Threads {
			if _, err := th.Regs(); err != nil {
				t.Fatalf("%d: task %d: %v", i, tid, err)
			}
		}
		if err := f.Thaw(); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if i%20 == 0 {
			goesOn(t, pid, &lines, before)
		}
	}
}

// goesOn waits until the process has said more, and nobody traces it.
func goesOn(t *testing.T, pid int, lines *atomic.Int64, before int64) {
	t.Helper()
	for end := soon(); lines.Load() <= before+1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not go on%s", where(pid))
		}
	}
	for _, tid := range must[[]int](t)(lister(pid)()) {
		if st, err := readStatus(tid); err == nil && (st.tracer != 0 || st.state == 't' || st.state == 'T') {
			t.Fatalf("task %d is %c, traced by %d", tid, st.state, st.tracer)
		}
	}
}
