package restore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Two routes lead to a number by being there when it is the next one: the right
// to set which one was last (ns_last_pid), or to use up all before it. Others
// start programs meanwhile, so each task is looked at, and one with another
// number is ended and made again.

// cycleTime is how long the numbers of a tree may take.
const cycleTime = time.Minute

// The kernel gives no number below firstPID again once it has come to its last
// one (RESERVED_PIDS in kernel/pid.c).
const firstPID = 300

// counter is the way to the next number.
type counter struct {
	s        *session
	max      int // kernel.pid_max
	deadline time.Time
	lock     *os.File // of ns_last_pid
	made     func(n int)
}

// newCounter gets ready, or says why it is no use to try.
func (s *session) newCounter() (*counter, error) {
	k := &counter{s: s, deadline: time.Now().Add(cycleTime), made: func(int) {}}
	var err error
	if k.max, err = pidMax(); err != nil {
		return nil, err
	}
	for _, pid := range s.manifest.PIDs {
		if int(pid) >= k.max {
			return nil, &HostError{fmt.Sprintf("PID %d is beyond kernel.pid_max, which is %d", pid, k.max)}
		}
	}
	if s.route == LastPID {
		k.lock, err = kernelio.LockLastPID(k.deadline)
		return k, err
	}
	return k, k.promising()
}

func (k *counter) close() {
	if k != nil && k.lock != nil {
		k.lock.Close()
	}
}

func pidMax() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// promising makes some tasks to see how fast that is, and refuses what would
// take too long.
func (k *counter) promising() error {
	const sample = 200
	if _, err := k.spin(0, 1); err != nil { // the first one is slow
		return err
	}
	begin := time.Now()
	last, err := k.spin(0, sample)
	if err != nil {
		return err
	}
	total := k.distance(last)
	if k.s.opts.Cycle != nil {
		k.made = k.s.opts.Cycle(total)
	}
	return k.hopeless(total, time.Since(begin)/sample)
}

// hopeless refuses to make that many tasks if each takes that long.
func (k *counter) hopeless(total int, each time.Duration) error {
	took := time.Duration(total) * each
	switch {
	case total == never:
		return &HostError{fmt.Sprintf("it has a PID below %d, which the kernel gives to nobody any more", firstPID)}
	case took > cycleTime:
		return &HostError{fmt.Sprintf("its PIDs come after about %d others: at %d in a second, with kernel.pid_max at %d, that takes %v, and more than %v is not tried",
			total, time.Second/max(each, 1), k.max, took.Round(time.Second), cycleTime)}
	}
	return nil
}

const never = -1

// distance is how many numbers come before those of the tree are there, in the
// order in which its tasks are made.
func (k *counter) distance(last int) (total int) {
	for _, pid := range k.s.order(nil, nil) {
		if pid < firstPID {
			return never
		}
		step := int(pid) - last
		if step <= 0 {
			step += k.max - firstPID
		}
		total, last = total+step, int(pid)
	}
	return total
}

// order lists the numbers of all tasks as growBelow makes them.
func (s *session) order(b *kind.TaskNode, out []kind.PID) []kind.PID {
	children := []*kind.TaskNode{&s.tree.Tasks[0]}
	if b != nil {
		children = s.clones[b]
	}
	for _, n := range children {
		out = append(out, n.PID)
	}
	if b != nil && len(b.Threads) > 1 {
		for _, th := range b.Threads[1:] {
			out = append(out, th.TID)
		}
	}
	for _, n := range children {
		out = s.order(n, out)
	}
	return out
}

// spin has the stub use up numbers, until it has used up stop, and gives the
// last one.
func (k *counter) spin(stop, most int) (int, error) {
	for {
		p := inject.NewProgram()
		h := p.Spin(stop, most)
		if err := k.s.stub.Space.Run(k.s.stub.Thread, p); err != nil {
			return 0, err
		}
		k.made(most)
		ret := p.Ret(h)
		if ret > 0 {
			return int(ret), nil
		}
		if err := unix.Errno(-ret); err != unix.EAGAIN || k.late() {
			return 0, fmt.Errorf("making tasks until a number comes: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (k *counter) late() bool { return time.Now().After(k.deadline) }

// before is the number after which the next task gets pid.
func (k *counter) before(pid int) int {
	n := pid - 1
	for n >= firstPID && kernelio.TaskExists(n) {
		n--
	}
	if n < firstPID { // the last one before the kernel begins again
		for n = k.max - 1; kernelio.TaskExists(n); n-- {
		}
	}
	return n
}

// reach sees to it that the next task of this PID namespace gets the number.
func (k *counter) reach(pid int) error {
	if k.s.route == LastPID {
		return kernelio.SetLastPID(pid - 1)
	}
	const some = 2000
	for stop := k.before(pid); !k.late(); {
		last, err := k.spin(stop, some)
		if err != nil || last == stop {
			return err
		}
		if kernelio.TaskExists(stop) {
			stop = k.before(pid)
		}
	}
	return k.tooLate(pid)
}

func (k *counter) tooLate(pid int) error {
	if kernelio.TaskExists(pid) {
		return &TakenError{PIDs: []Taken{takenBy(pid)}}
	}
	return &HostError{fmt.Sprintf("PID %d did not come within %v", pid, cycleTime)}
}

// patience is how often somebody else may be found to have a number.
const patience = 5

// make makes one task with its number, by a call of its cloner.
func (k *counter) make(by cloner, c plan.Call, x *newborn) error {
	pid := x.pid
	for misses := 0; !k.late(); {
		if err := k.reach(int(pid)); err != nil {
			return err
		}
		p := newProgram(k.s, by.body)
		if err := p.Add(c, pid); err != nil {
			return err
		}
		if err := by.space.Run(by.thread, p.Inject); err != nil {
			return cloneError(p, err)
		}
		got := int(p.Results()[0].Ret)
		if got == int(pid) {
			return nil
		}
		if err := x.discard(got); err != nil {
			return fmt.Errorf("ending task %d, which was to be %d: %w", got, pid, err)
		}
		if kernelio.TaskExists(int(pid)) {
			if misses++; misses > patience {
				break
			}
			time.Sleep(10 * time.Millisecond) // it may be somebody's short business
		}
	}
	return k.tooLate(int(pid))
}

// discardProcess ends a process with a wrong number, for its parent too.
func (s *session) discardProcess(b *body, x birth) func(int) error {
	return func(pid int) error {
		if err := kernelio.Kill(pid, unix.SIGKILL); err != nil {
			return err
		}
		if _, err := kernelio.Reap(pid); err != nil {
			return err
		}
		parent := b
		if b != nil && x.flags&unix.CLONE_PARENT != 0 {
			parent = s.bodies[uint32(b.node.Parent)]
		}
		wait := plan.Call{Nr: unix.SYS_WAIT4, Args: []plan.Arg{plan.Int(pid), plan.Int(0), plan.Int(unix.WALL), plan.Int(0)}}
		switch {
		case parent != nil:
			s.bereaved = append(s.bereaved, parent)
			return s.run(parent, wait)
		case x.flags&unix.CLONE_PARENT == 0: // the stub's
			p := newProgram(s, nil)
			if err := p.Add(wait, nil); err != nil {
				return err
			}
			return s.stub.Space.Run(s.stub.Thread, p.Inject)
		}
		return nil
	}
}

// discardThread has a thread with a wrong number end itself.
func (s *session) discardThread(b *body) func(int) error {
	return func(tid int) error {
		t, err := b.space.AdoptThread(tid, nil)
		if err != nil {
			return err
		}
		p := calls.NewProgram(s.newNames(b))
		if err := p.Add(plan.Call{Nr: unix.SYS_EXIT, Args: []plan.Arg{plan.Int(0)}}, nil); err != nil {
			return err
		}
		if err := b.space.Run(t, p.Inject); !errors.Is(err, inject.ErrGone) {
			return fmt.Errorf("it did not end: %w", err)
		}
		return nil
	}
}
