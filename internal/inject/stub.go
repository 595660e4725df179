package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// StubOptions say what a stub is made of.
type StubOptions struct {
	// Base is where it lies: StubSpan(Size) bytes there must be free in every
	// address space that is to be built from it.
	Base uint64
	// Size is the room for programs, in bytes. Untouched room costs nothing.
	Size uint64
	// Files are the tool's descriptors that it inherits, as 0, 1, 2, ...; -1
	// leaves the number closed.
	Files []int
	// Ambient capabilities, for a tool that has them by a file capability,
	// which a stub does not inherit (capabilities(7)).
	Ambient []uintptr
	// NonDumpable protects it from everyone without CAP_SYS_PTRACE, from its
	// first instruction of ours on.
	NonDumpable bool
	// CloneFlags are namespaces to make it in (CLONE_NEW*).
	CloneFlags uintptr
	// Barrier decides about what Park parks.
	Barrier *Barrier
	// First adds to the calls that the stub begins with.
	First func(*Program)
}

// Stub is a process that holds nothing but a Space, from which a tree is made.
// It is killed when the tool dies.
type Stub struct {
	Thread *Thread
	Space  *Space
	// Proc is the child process; Wait reaps it when it has ended.
	Proc Child
}

// Child is a process that the tool has started and nobody else waits for: until
// Wait its PID is its own. An os.Process would first try out, by starting two
// more, whether the kernel has pidfds.
type Child int

// Kill ends it.
func (c Child) Kill() error { return os.NewSyscallError("kill", unix.Kill(int(c), unix.SIGKILL)) }

// Wait waits for its end, and for nothing else that its tracer is told of.
func (c Child) Wait() error {
	for {
		err := unix.Waitid(unix.P_PID, int(c), nil, unix.WEXITED, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// StubSpan is the memory that a stub with a room of size takes at its base.
func StubSpan(size uint64) uint64 {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	c := newCode()
	return c.pages() + size + pageSize
}

// stubText is the code with the loop to wait in at its beginning.
func (c *code) stub() (text []byte, at uint64) {
	wait := pieceText(piecePause)
	return append(wait, c.text...), uint64(len(wait))
}

func (c *code) pages() uint64 {
	text, _ := c.stub()
	return abi.StubTextPages(text)
}

// NewStub starts a stub and seizes it. All its signals are blocked and have
// their default actions.
func (tr *Tracer) NewStub(o StubOptions) (*Stub, error) {
	o.Size = (o.Size + pageSize - 1) &^ (pageSize - 1)
	var st *Stub
	err := tr.try(func() (err error) {
		// On the tracer's thread, so that Pdeathsig means the tool's death.
		st, err = tr.newStub(o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("starting a stub: %w", err)
	}
	return st, nil
}

func (tr *Tracer) newStub(o StubOptions) (*Stub, error) {
	exe, err := tr.stubFile(o)
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	files := append([]int(nil), o.Files...)
	if o.Barrier != nil {
		files = append(files, int(o.Barrier.ro.Fd()))
	}
	proc, err := spawn(exe, files, o)
	if err != nil {
		return nil, err
	}
	st, err := tr.seizeStub(proc, o)
	if err != nil {
		proc.Kill()
		proc.Wait()
		return nil, err
	}
	return st, nil
}

func (tr *Tracer) stubFile(o StubOptions) (*os.File, error) {
	f, err := memfd("stub")
	if err != nil {
		return nil, err
	}
	text, _ := tr.code.stub()
	if _, err := f.Write(abi.StubELF(o.Base, text, o.Size)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// spawn executes the file. Its own descriptor must be above the numbers that
// starting a process moves descriptors to: one for each beyond the highest, and
// that of a pipe (forkAndExecInChild1 in Go's syscall). No higher, or the kernel
// would make this process's table of descriptors larger, and wait for all
// processors meanwhile.
func spawn(exe *os.File, files []int, o StubOptions) (Child, error) {
	top := max(int(exe.Fd()), len(files))
	for _, fd := range files {
		top = max(top, fd)
	}
	fd, err := above(int(exe.Fd()), top+len(files)+4)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	attr := &syscall.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, AmbientCaps: o.Ambient, Cloneflags: o.CloneFlags},
	}
	for _, n := range files {
		attr.Files = append(attr.Files, uintptr(n))
	}
	pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{""}, attr)
	if err != nil {
		return 0, os.NewSyscallError("execve", err)
	}
	return Child(pid), nil
}

// seizeStub stops the new process and makes it ready.
func (tr *Tracer) seizeStub(proc Child, o StubOptions) (*Stub, error) {
	t, err := tr.Seize(int(proc), ExitKill)
	if err != nil {
		return nil, err
	}
	if err := t.Interrupt(); err != nil {
		return nil, err
	}
	if err := t.waitEventStop(time.Now().Add(stopTime)); err != nil {
		return nil, err
	}
	s, err := tr.stubSpace(t, o)
	if err != nil {
		return nil, err
	}
	if err := s.run(t, s.firstProgram(o)); err != nil {
		return nil, errors.Join(err, s.mem.Close())
	}
	return &Stub{Thread: t, Space: s, Proc: proc}, nil
}

func (tr *Tracer) stubSpace(t *Thread, o StubOptions) (*Space, error) {
	mem, err := kernelio.OpenTraceeMem(t.tid)
	if err != nil {
		return nil, err
	}
	_, at := tr.code.stub()
	data := o.Base + tr.code.pages()
	return &Space{
		tr:    tr,
		mem:   mem,
		lo:    o.Base,
		text:  o.Base + abi.StubTextOffset + at,
		data:  newHeap(data, data+o.Size),
		hi:    data + o.Size + pageSize,
		slots: map[*Thread]*slot{},
	}, nil
}

// firstProgram makes what Go's way to start a process has no option for: it
// maps the barrier, forgets the parent-death signal, since from now on
// ExitKill does that, and gives all signals their default action; the tool
// may have been started with some ignored.
func (s *Space) firstProgram(o StubOptions) *Program {
	p := NewProgram()
	p.Call(unix.SYS_PRCTL, N(unix.PR_SET_PDEATHSIG), N(0))
	if o.NonDumpable {
		p.Call(unix.SYS_PRCTL, N(unix.PR_SET_DUMPABLE), N(0))
	}
	if o.Barrier != nil {
		s.mapBarrier(p, len(o.Files))
	}
	action := p.Out(sizeofSigaction)
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			p.Call(unix.SYS_RT_SIGACTION, N(sig), action.Ptr(0), N(0), N(abi.SizeofSigSet))
		}
	}
	s.leaveFile(p)
	if o.First != nil {
		o.First(p)
	}
	p.Trap()
	return p
}

// sizeofSigaction is that of struct kernel_sigaction.
const sizeofSigaction = 32

// leaveFile puts a copy of the text that belongs to no file in the place of
// the one that was executed: a process can be given another executable file
// only while no mapping is left of its old one (replace_mm_exe_file in
// kernel/fork.c). Moving a mapping over another replaces it at once, so the
// thread that does it goes on in the copy.
func (s *Space) leaveFile(p *Program) {
	size := s.data.lo - s.lo
	p.MustEqual(p.Call(unix.SYS_MMAP, N(s.hi), N(size), N(unix.PROT_READ|unix.PROT_WRITE),
		N(unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE), N(^uint64(0)), N(0)), s.hi)
	copied := p.Call(unix.SYS_PROCESS_VM_READV, p.Call(unix.SYS_GETPID).Result(), p.Buf(iovec(s.hi, size)).Ptr(0), N(1),
		p.Buf(iovec(s.lo, size)).Ptr(0), N(1), N(0))
	p.MustEqual(copied, size)
	p.Call(unix.SYS_MPROTECT, N(s.hi), N(size), N(unix.PROT_READ|unix.PROT_EXEC))
	p.Call(unix.SYS_MREMAP, N(s.hi), N(size), N(size), N(unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED), N(s.lo))
}

// iovec is a struct iovec.
func iovec(base, size uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, base), size)
}
