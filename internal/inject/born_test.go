package inject

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

// threadFlags make a thread (clone(2)).
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM

// Tasks that are made with programs of their own run these, and no others: also if their cloner runs another program before they are adopted.
func TestBorn(t *testing.T) {
	for name, flags := range map[string]uint64{"threads": threadFlags, "processes": 0} {
		t.Run(name, func(t *testing.T) {
			tr := NewTracer()
			st, err := tr.NewStub(StubOptions{Base: stubBase, Size: stubRoom})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Proc.Wait()
			defer st.Proc.Kill()
			defer tr.Close() // first: who is traced is not to be waited for by others
			var broods []*born
			for _, n := range []int{8, 1, 7, 2} { // small ones take the place of what is not needed any more
				b, err := bear(st, flags, n)
				if err != nil {
					t.Fatal(err)
				}
				broods = append(broods, b)
			}
			for _, b := range broods {
				b.check(t, st)
			}
		})
	}
}

// born is what one program made.
type born struct {
	forked bool
	tids   []int
	progs  []*Program
	outs   []Ref
}

// bear has the stub make n tasks. Each asks for its number, and writes it down.
func bear(st *Stub, flags uint64, n int) (*born, error) {
	b := &born{forked: flags == 0}
	p := NewProgram()
	p.Trap()
	var made []Handle
	for range n {
		args := abi.CloneArgs{Flags: flags | unix.CLONE_PTRACE}
		if b.forked {
			args.ExitSignal = uint64(unix.SIGCHLD)
		}
		h := p.Call(unix.SYS_CLONE3, p.Buf(args.Encode()).Ptr(0), N(abi.SizeofCloneArgs))
		q := NewProgram()
		out := q.Buf(make([]byte, 64))
		q.Store(q.Call(unix.SYS_GETTID), out, 0, 8)
		p.Born(h, q, b.forked)
		made, b.progs, b.outs = append(made, h), append(b.progs, q), append(b.outs, out)
	}
	err := st.Space.Run(st.Thread, p)
	for _, h := range made {
		b.tids = append(b.tids, int(p.Ret(h)))
	}
	return b, err
}

func (b *born) check(t *testing.T, st *Stub) {
	t.Helper()
	for i, tid := range b.tids {
		space, th := st.Space, (*Thread)(nil)
		var err error
		if b.forked {
			space, th, err = st.Space.AdoptProcess(tid, b.progs[i])
		} else {
			th, err = st.Space.AdoptThread(tid, b.progs[i])
		}
		if err == nil {
			err = space.Finish(th)
		}
		if err != nil {
			t.Fatalf("task %d: %v", tid, err)
		}
		if got := binary.LittleEndian.Uint64(b.progs[i].Bytes(b.outs[i])); got != uint64(tid) {
			t.Errorf("task %d says that it is %d", tid, got)
		}
	}
}
