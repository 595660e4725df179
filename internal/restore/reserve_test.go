package restore

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/test/harness"
)

// asReserver says in the environment that a test runs as the user that it is about.
const asReserver = "CKPT_TEST_RESERVER"

// An ordinary user with nothing but cap_checkpoint_restore reserves the numbers of a tree. At that moment no task and no thread has a
// capability, nor has rstr, and nobody can make another task with a number of his choice.
func TestReservationIsClosed(t *testing.T) {
	if os.Getenv(asReserver) == "" {
		again(t)
		return
	}
	s := reserver(t)
	defer s.tracer.Close()
	defer s.closeBarrier()
	defer s.closeOwned()
	var err error
	s.tracer.Do(func() { err = errors.Join(s.openSocket(), s.reserve()) })
	defer s.tracer.Do(s.abandon)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, b := range s.bodies {
		for _, th := range b.all() {
			count++
			st := statusOf(t, th.PID(), th.TID())
			if st.CapPrm|st.CapEff|st.CapInh|st.CapAmb != 0 || st.UID.Real != 12345 {
				t.Errorf("task %d of user %d has the capabilities %x %x %x %x", th.TID(), st.UID.Real, st.CapPrm, st.CapEff, st.CapInh, st.CapAmb)
			}
			s.tracer.Do(func() { err = s.choose(b, th) })
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("task %d chooses another PID: %v", th.TID(), err)
			}
		}
	}
	if count != len(s.manifest.PIDs) {
		t.Errorf("there are %d tasks for %d numbers", count, len(s.manifest.PIDs))
	}
	own, err := kernelio.OwnCredentials()
	if err != nil || own.Permitted|own.Effective|own.Inheritable|own.Ambient != 0 {
		t.Errorf("rstr has %+v (%v)", own, err)
	}
	for i := range s.steps {
		if s.steps[i].next != 0 {
			t.Errorf("already done: %s", s.steps[i].Text)
		}
	}
}

// again runs the test as the user, with the capability.
func again(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root can become others")
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env, c.Dir = append(os.Environ(), asReserver+"=1"), "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}, AmbientCaps: []uintptr{capCheckpointRestore}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// reserver is a session of a user to whom the right to PIDs was lent, about to make a tree of two processes, three threads and a zombie.
func reserver(t *testing.T) *session {
	t.Helper()
	own, err := kernelio.OwnCredentials()
	if err != nil {
		t.Fatal(err)
	}
	const lent = abi.CapSet(1 << capCheckpointRestore)
	if err := errors.Join(kernelio.Drop(own.UID.Real, own.GID.Real, own.Groups, lent), kernelio.StepDown(), kernelio.SetDumpable(1)); err != nil {
		t.Fatal(err)
	}
	d := newDraft(t)
	d.renumber(freePIDs(4))
	b, err := image.Marshal(&d.tree)
	if err != nil {
		t.Fatal(err)
	}
	d.m.Tree = b
	c, err := decode(&d.m, toys())
	if err != nil {
		t.Fatal(err)
	}
	s := &session{content: c, opts: Options{Lent: lent}, route: Here, steps: c.plan(kind.Host{}), bodies: map[uint32]*body{},
		made: map[plan.Ref]int64{}, inTask: map[plan.Ref]int64{}, owned: map[int]bool{}, cleared: map[uint32]bool{}, bared: map[*inject.Thread]bool{}, tracer: inject.NewTracer()}
	if s.barrier, err = inject.NewBarrier(); err != nil {
		t.Fatal(err)
	}
	return s
}

// freePIDs finds numbers that nobody has, in a row.
func freePIDs(n int) kind.PID {
	for at := 20000; ; at++ {
		free := 0
		for free < n && !kernelio.TaskExists(at+free) {
			free++
		}
		if free == n {
			return kind.PID(at)
		}
	}
}

// renumber moves the numbers of the draft, which begin at 100.
func (d *draft) renumber(first kind.PID) {
	move := func(p *kind.PID) { *p += first - 100 }
	for i := range d.tree.Tasks {
		n := &d.tree.Tasks[i]
		move(&n.PID)
		move(&n.Group)
		move(&n.Session)
		for j := range n.Threads {
			move(&n.Threads[j].TID)
		}
	}
	for i := range d.m.PIDs {
		d.m.PIDs[i] += uint32(first - 100)
	}
	d.leaveOut(plan.OpenFile, 2, "odd")
	d.add(plan.OpenFile, 2, "odd", toyFile{Peer: 1, Owner: 102 + first - 100, Task: 2, Inode: 1})
}

func statusOf(t *testing.T, pid, tid int) *abi.Status {
	t.Helper()
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	st, err := dir.ThreadStatus(tid)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// choose has a thread try to make a process with a number of its choice.
func (s *session) choose(b *body, th *inject.Thread) error {
	p := newProgram(s, b)
	if err := p.Add(s.cloneCall(abi.CloneArgs{Flags: unix.CLONE_PTRACE}, freePIDs(1)), nil); err != nil {
		return err
	}
	return b.space.Run(th, p.Inject)
}

func TestMain(m *testing.M) {
	harness.WithoutCgo()
	os.Exit(m.Run())
}
