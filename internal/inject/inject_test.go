package inject

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// tools are the programs that tests kill.
func tools() map[string]func(args []string) {
	return map[string]func([]string){"dump": dumpForever, "restore": restoreOnce}
}

// injectOnce does what a dump does: freeze, run programs in the leader and,
// if all, in every thread, thaw.
func injectOnce(tr *Tracer, pid int, all bool) error {
	f, err := tr.Freeze(lister(pid), 0, soon())
	if err != nil {
		return err
	}
	leader := f.Threads[pid]
	s, err := Open(leader, uint64(64<<10+len(f.Threads)*SlotSize))
	if err != nil {
		return err
	}
	if w := s.Window(); w != "" {
		return fmt.Errorf("there is a window: %s", w)
	}
	if all {
		err = runAll(s, f)
	} else {
		err = s.Run(leader, asks())
	}
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return f.Thaw()
}

func runAll(s *Space, f *Frozen) error {
	for _, th := range f.Threads {
		if err := s.Start(th, asks()); err != nil {
			return err
		}
	}
	for _, th := range f.Threads {
		if err := s.Finish(th); err != nil {
			return err
		}
	}
	return nil
}

// asks are some calls of a dump.
func asks() *Program {
	p := NewProgram()
	p.Call(unix.SYS_GETPID)
	p.Call(unix.SYS_BRK, N(0))
	for sig := range 64 {
		p.Call(unix.SYS_RT_SIGACTION, N(sig+1), N(0), p.Out(32).Ptr(0), N(8))
	}
	p.Call(unix.SYS_SIGALTSTACK, N(0), p.Out(24).Ptr(0))
	return p
}

func dumpForever(args []string) {
	pid, _ := strconv.Atoi(args[0])
	tr := NewTracer()
	os.Stdout.WriteString(begins)
	for i := 0; ; i++ {
		check(injectOnce(tr, pid, i%2 == 1))
	}
}

func TestProgramResults(t *testing.T) {
	tg := startTarget(t, build(t, "target"), "naps")
	tr := newTracer(t)
	f := must[*Frozen](t)(tr.Freeze(lister(tg.pid()), 0, soon()))
	th := f.Threads[tg.pid()]
	s := must[*Space](t)(Open(th, 64<<10))
	if w := s.Window(); w != "" {
		t.Errorf("there is a window: %s", w)
	}
	p := NewProgram()
	pid := p.Call(unix.SYS_GETPID)
	name := p.Out(16)
	p.Call(unix.SYS_PRCTL, N(unix.PR_GET_NAME), name.Ptr(0))
	fds := p.Out(8)
	pipe := p.Call(unix.SYS_PIPE2, fds.Ptr(0), N(0))
	where := p.Out(16)
	p.Store(pid, where, 0, 4)
	p.Store(pid, where, 8, 8)
	self := p.Call(unix.SYS_KILL, pid.Result(), N(0))
	p.MustEqual(self, 0)
	bad := p.Call(unix.SYS_CLOSE, N(-1))
	p.Tolerate(bad, unix.EPERM, unix.EBADF)
	iov := p.Out(16)
	p.Link(iov, 0, p.Buf([]byte("hello")), 1)
	if err := s.Run(th, p); err != nil {
		t.Fatal(err)
	}
	if p.Ret(pid) != int64(tg.pid()) || p.Ret(pipe) != 0 || p.Ret(bad) != -int64(unix.EBADF) {
		t.Errorf("results: pid %d, pipe %d, close %d", p.Ret(pid), p.Ret(pipe), p.Ret(bad))
	}
	if got := string(p.Bytes(name)[:6]); got != "target" {
		t.Errorf("name %q", got)
	}
	if b := p.Bytes(where); le32(b) != tg.pid() || le32(b[8:]) != tg.pid() {
		t.Errorf("stored %v", b)
	}
	q := NewProgram()
	for _, off := range []int{0, 4} {
		q.Call(unix.SYS_CLOSE, N(le32(p.Bytes(fds)[off:])))
	}
	fail := q.Call(unix.SYS_CLOSE, N(-1))
	after := q.Call(unix.SYS_GETPID)
	err := s.Run(th, q)
	if h, failed := q.Failed(); !failed || h != fail || q.Ret(after) != 0 {
		t.Errorf("failed %v at %d, then %d; error %v", failed, h, q.Ret(after), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	tg.beating()
}

func le32(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }

func everything() []string {
	return []string{
		"compute", "calls", "naps", "futexes", "polls", "epolls", "sigwaits", "recvs", "reads", "writes", "children", "timers",
	}
}

func TestInjectManyTimes(t *testing.T) {
	for _, last := range everything() {
		t.Run(last, func(t *testing.T) {
			var modes []string
			for _, m := range everything() {
				if m != last {
					modes = append(modes, m)
				}
			}
			injectMany(t, startTarget(t, build(t, "target"), append(modes, last)...))
		})
	}
	t.Run("static", func(t *testing.T) {
		injectMany(t, startTarget(t, build(t, "target", "-static"), everything()...))
	})
	t.Run("go", func(t *testing.T) {
		injectMany(t, startTarget(t, build(t, "gotarget"), "gc", "channels", "naps", "pipe"))
	})
}

// injectMany runs programs in a target over and over; all it checks goes on.
func injectMany(t *testing.T, tg *target) {
	tr := newTracer(t)
	for i := range 100 {
		if err := injectOnce(tr, tg.pid(), i%2 == 1); err != nil {
			t.Fatal(i, err)
		}
		tg.ok()
		if i%20 == 0 {
			tg.beating()
		}
	}
	tg.beating()
	if n := strayMappings(t, tg.pid()); n != 0 {
		t.Errorf("%d mappings were left in the target", n)
	}
}
