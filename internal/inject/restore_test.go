package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// beater is the text of the smallest process worth restoring: it counts in
// the word at R12 and compares the xmm15 and R13 it was given.
func beater() []byte {
	return []byte{
		0x66, 0x4c, 0x0f, 0x7e, 0xf8, // 0: movq %xmm15, %rax
		0x4c, 0x39, 0xe8, // cmp %r13, %rax
		0x75, 0x06, // jne +6
		0x49, 0xff, 0x04, 0x24, // incq (%r12)
		0xeb, 0xf0, // jmp 0
		0x0f, 0x0b, // ud2
		// And what every program has somewhere, see gadget.go.
		0x0f, 0x05, 0xc3, // syscall; ret
		0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05, // mov $15, %eax; syscall
	}
}

const (
	stubBase = 0x10000000
	stubRoom = 1 << 20
	textAt   = 0x20000000
	boardAt  = 0x40000000
)

// tiny is two processes of two threads each, made from a stub. Thread i of
// process p counts in word 2p+i.
type tiny struct {
	st    *Stub
	procs []*tinyProc
}

type tinyProc struct {
	space   *Space
	threads []*Thread
}

// makeTiny makes them with board as their memory, parked. The first has the
// PID pid.
func makeTiny(tr *Tracer, barrier *Barrier, board *os.File, pid int, stop bool) (*tiny, error) {
	text, err := memfd("text")
	if err != nil {
		return nil, err
	}
	defer text.Close()
	if _, err := text.Write(append(beater(), make([]byte, pageSize)...)); err != nil {
		return nil, err
	}
	files := []int{int(board.Fd()), -1, int(text.Fd())}
	st, err := tr.NewStub(StubOptions{Base: stubBase, Size: stubRoom, Files: files, Barrier: barrier})
	if err != nil {
		return nil, err
	}
	tn := &tiny{st: st}
	for n, pid := range []int{pid, 0} {
		p, err := tn.clone(pid)
		if err != nil {
			return nil, err
		}
		if err := p.fill(); err != nil {
			return nil, err
		}
		if err := p.park(n, stop); err != nil {
			return nil, err
		}
	}
	return tn, nil
}

// clone makes a process, with a PID if that is not 0, that is the tool's
// child as the stub is.
func (tn *tiny) clone(pid int) (*tinyProc, error) {
	p := NewProgram()
	args := abi.CloneArgs{Flags: unix.CLONE_PTRACE | unix.CLONE_PARENT}
	if pid != 0 {
		args.SetTIDSize = 1
	}
	buf := p.Buf(args.Encode())
	if pid != 0 {
		p.Link(buf, abi.CloneArgsSetTID, p.Buf(binary.LittleEndian.AppendUint32(nil, uint32(pid))), 0)
	}
	h := p.Call(unix.SYS_CLONE3, buf.Ptr(0), N(abi.SizeofCloneArgs))
	if err := tn.st.Space.Run(tn.st.Thread, p); err != nil {
		return nil, err
	}
	sp, th, err := tn.st.Space.AdoptProcess(int(p.Ret(h)), nil)
	tp := &tinyProc{space: sp, threads: []*Thread{th}}
	tn.procs = append(tn.procs, tp)
	return tp, err
}

// fill makes the memory and the second thread.
func (tp *tinyProc) fill() error {
	p := NewProgram()
	fixed := uint64(unix.MAP_FIXED_NOREPLACE)
	text := p.Call(unix.SYS_MMAP, N(textAt), N(pageSize), N(unix.PROT_READ|unix.PROT_EXEC), N(fixed|unix.MAP_PRIVATE), N(2), N(0))
	p.MustEqual(text, textAt)
	p.Call(unix.SYS_MMAP, N(boardAt), N(pageSize), N(unix.PROT_READ|unix.PROT_WRITE), N(fixed|unix.MAP_SHARED), N(0), N(0))
	p.MustEqual(p.Call(unix.SYS_CLOSE_RANGE, N(0), N(99), N(0)), 0)
	flags := uint64(unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM)
	args := abi.CloneArgs{Flags: flags | unix.CLONE_PTRACE}
	buf := p.Buf(args.Encode())
	h := p.Call(unix.SYS_CLONE3, buf.Ptr(0), N(abi.SizeofCloneArgs))
	p.Trap()
	if err := tp.space.Run(tp.threads[0], p); err != nil {
		return err
	}
	th, err := tp.space.AdoptThread(int(p.Ret(h)), nil)
	tp.threads = append(tp.threads, th)
	return err
}

func (tp *tinyProc) park(n int, stop bool) error {
	for i, th := range tp.threads {
		x, err := th.XState()
		if err != nil {
			return err
		}
		x = append([]byte(nil), x...)
		pattern := uint64(0x1122334455667788) + uint64(i)
		binary.LittleEndian.PutUint64(x[160+15*16:], pattern)
		binary.LittleEndian.PutUint64(x[512:], binary.LittleEndian.Uint64(x[512:])|2)
		r, err := th.Regs()
		if err != nil {
			return err
		}
		at := boardAt + 16*uint64(n) + 8*uint64(i)
		r = abi.Regs{Rip: textAt, R12: at, R13: pattern, Cs: r.Cs, Ss: r.Ss, Eflags: 0x202, OrigRax: abi.NoSyscall}
		state := abi.TaskState{Regs: r, Mask: abi.SigSetOf(int(unix.SIGUSR1)), XState: x}
		if err := tp.space.Park(th, state, stop && i == 0); err != nil {
			return err
		}
	}
	return nil
}

// commit is what a restore does at its end.
func (tn *tiny) commit(b *Barrier) error {
	for _, tp := range tn.procs {
		for _, th := range tp.threads {
			if err := th.SetOptions(0); err != nil {
				return err
			}
		}
	}
	b.Commit()
	for _, tp := range tn.procs {
		for i := len(tp.threads) - 1; i >= 0; i-- {
			if err := tn.st.Space.tr.Release([]Parked{{tp.space, tp.threads[i], i == 0}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// newBoard is a memfd with its words.
func newBoard(t *testing.T) (*os.File, []byte) {
	t.Helper()
	f := must[*os.File](t)(memfd("board"))
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(pageSize); err != nil {
		t.Fatal(err)
	}
	return f, must[[]byte](t)(unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
}

func TestRestoreTiny(t *testing.T) {
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stop=%v", stop), func(t *testing.T) { restoreTiny(t, stop) })
	}
}

func restoreTiny(t *testing.T, stop bool) {
	tr := newTracer(t)
	b := must[*Barrier](t)(NewBarrier())
	defer b.Close()
	f, board := newBoard(t)
	pid := freePID(t)
	tn := must[*tiny](t)(makeTiny(tr, b, f, pid, stop))
	if got := tn.procs[0].threads[0].TID(); got != pid {
		t.Fatalf("pid %d, not %d", got, pid)
	}
	killStub(t, tn.st)
	if err := tn.commit(b); err != nil {
		t.Fatal(err)
	}
	for _, tp := range tn.procs {
		pid := tp.threads[0].TID()
		defer unix.Kill(pid, unix.SIGKILL)
		if stop {
			awaitState(t, pid, "T (stopped)")
			if word(board, 0) != 0 && pid == tn.procs[0].threads[0].TID() {
				t.Error("it ran before it was stopped")
			}
			unix.Kill(pid, unix.SIGCONT)
		}
	}
	for i := range tinyWords {
		awaitBeat(t, board, i)
	}
	for _, tp := range tn.procs {
		checkTiny(t, tp.threads[0].TID())
	}
}

// tinyWords is how many words of the board count.
const tinyWords = 4

// checkTiny looks at what the process is now.
func checkTiny(t *testing.T, pid int) {
	t.Helper()
	maps := must[[]byte](t)(os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid)))
	for line := range strings.Lines(string(maps)) {
		if strings.HasPrefix(line, "100") { // stubBase
			t.Errorf("the stub is still there: %s", line)
		}
	}
	status := string(must[[]byte](t)(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))))
	for _, want := range []string{"SigBlk:\t0000000000000200", "TracerPid:\t0", "Threads:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("status has no %q:\n%s", want, status)
		}
	}
}

func word(board []byte, i int) uint64 { return binary.LittleEndian.Uint64(board[8*i:]) }

func awaitBeat(t *testing.T, board []byte, i int) {
	t.Helper()
	before := word(board, i)
	for end := time.Now().Add(5 * time.Second); word(board, i) == before; {
		if time.Now().After(end) {
			t.Fatalf("thread %d does not run", i)
		}
		time.Sleep(time.Millisecond)
	}
}

func awaitState(t *testing.T, pid int, state string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.Contains(string(b), "State:\t"+state) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is not %s: %s (%v)", pid, state, b, err)
		}
	}
}

// freePID is a number that no task has, and that the kernel will not give
// soon, since it gave the ones after it just now.
func freePID(t *testing.T) int {
	t.Helper()
	text := must[[]byte](t)(os.ReadFile("/proc/sys/kernel/ns_last_pid"))
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	// Half of all numbers away from those that are being given out, and given back by restores of other tests.
	const least, most = 301, 32000
	for n := range most - least {
		if pid := least + (last+most/2+n)%(most-least); errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return pid
		}
	}
	t.Fatal("no free pid")
	return 0
}

// killStub ends the stub, whose children live on as the tool's.
func killStub(t *testing.T, st *Stub) {
	t.Helper()
	if err := st.Proc.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := st.Proc.Wait(); err != nil {
		t.Fatal(err)
	}
}
