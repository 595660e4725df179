package kinds

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// nobodyID is a user and group that owns nothing.
const nobodyID = 64999

// tightNeed is a plan that takes authority: which, the capability that is it,
// and what the kernel says without.
type tightNeed struct {
	demand  string
	cap     int
	beside  []int // capabilities that are demanded beside it
	steps   func(h *kind.Host) []plan.Step
	without []unix.Errno // nil: EPERM
	with    unix.Errno   // what the kernel says with it; 0: it does it
}

func tightNeeds(t *testing.T) map[string]tightNeed {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	creds := func(change func(*kind.Creds)) func(*kind.Host) []plan.Step {
		return func(h *kind.Host) []plan.Step {
			want := h.Caller.Creds
			want.Caps.Inheritable = 0
			change(&want)
			return credsRecord{want}.plan(h)
		}
	}
	socket := func(family, typ int32, o sockOptions, local sockAddr) func(*kind.Host) []plan.Step {
		return func(h *kind.Host) []plan.Step {
			r := socketRecord{Sort: socketSort{family, typ, 0}, Options: o, Local: local, UID: nobodyID, GID: nobodyID}
			if typ == unix.SOCK_STREAM && family == unix.AF_INET {
				r.Sort.Proto = unix.IPPROTO_TCP
			}
			steps := r.plan(h)
			if local.Port != 0 {
				steps = append(steps, r.bind(h))
			}
			return steps
		}
	}
	ints := func(level, name, value int32) sockOptions {
		return sockOptions{Ints: []sockInt{{level, name, value}}}
	}
	memory := func() uint64 {
		const size = 1 << 20
		return uint64(sysCall(t, unix.SYS_MMAP, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0))
	}()
	denied := []unix.Errno{unix.EACCES, unix.EPERM}
	return map[string]tightNeed{
		"another user":  {demand: "uid:1", cap: unix.CAP_SETUID, steps: creds(func(c *kind.Creds) { c.UID = sameUID(1) })},
		"another group": {demand: "gid:1", cap: unix.CAP_SETGID, steps: creds(func(c *kind.Creds) { c.GID = sameGID(1) })},
		"a membership":  {demand: "group+1", cap: unix.CAP_SETGID, steps: creds(func(c *kind.Creds) { c.Groups = append([]credmap.GID{1}, c.Groups...) })},
		"a membership less": {demand: fmt.Sprintf("group-%d", nobodyID), cap: unix.CAP_SETGID,
			steps: creds(func(c *kind.Creds) { c.Groups = nil })},
		"a capability": {demand: "cap:kill", cap: unix.CAP_KILL, steps: creds(func(c *kind.Creds) {
			c.Caps.Permitted, c.Caps.Effective = capsOf(unix.CAP_KILL), capsOf(unix.CAP_KILL)
		})},
		"a smaller bounding set": {demand: "cap:setpcap", cap: unix.CAP_SETPCAP,
			steps: creds(func(c *kind.Creds) { c.Caps.Bounding &^= capsOf(unix.CAP_SYS_TIME) })},
		"securebits":     {demand: "cap:setpcap", cap: unix.CAP_SETPCAP, steps: creds(func(c *kind.Creds) { c.Securebits = 1 })},
		"a better nice":  {demand: "sched", cap: unix.CAP_SYS_NICE, without: denied, steps: func(h *kind.Host) []plan.Step { return schedRecord{Nice: -5}.plan(h) }},
		"real time":      {demand: "sched", cap: unix.CAP_SYS_NICE, without: denied, steps: func(h *kind.Host) []plan.Step { return schedRecord{Policy: unix.SCHED_FIFO, Priority: 1}.plan(h) }},
		"real-time I/O":  {demand: "sched", cap: unix.CAP_SYS_NICE, steps: func(h *kind.Host) []plan.Step { return ioPrioRecord{1 << 13}.plan(h) }},
		"a larger limit": {demand: "rlimit:rtprio", cap: unix.CAP_SYS_RESOURCE, steps: largerLimit},
		"a low address": {demand: "cap:sys_rawio", cap: unix.CAP_SYS_RAWIO, without: denied, steps: func(h *kind.Host) []plan.Step {
			return anonRecord{area: area{span: span{0, 0x1000}}}.plan(h)[:1]
		}},
		"locked memory": {demand: "limit:memlock", cap: unix.CAP_IPC_LOCK, without: []unix.Errno{unix.ENOMEM, unix.EPERM},
			steps: func(h *kind.Host) []plan.Step {
				return mlockRecord{span: span{memory, memory + 1<<20}, OnFault: true}.plan(h)
			}},
		"a huge pipe": {demand: "limit:pipe", cap: unix.CAP_SYS_RESOURCE, steps: func(h *kind.Host) []plan.Step {
			return planPipe(pipeRecord{Capacity: 1 << 21, Mode: 0o600, UID: nobodyID, GID: nobodyID}, h)
		}},
		"an alarm clock":      {demand: "cap:wake_alarm", cap: unix.CAP_WAKE_ALARM, steps: func(h *kind.Host) []plan.Step { return planTimerfd(timerfdRecord{Clock: unix.CLOCK_BOOTTIME_ALARM}, h) }},
		"a reserved port":     {demand: "cap:net_bind_service", cap: unix.CAP_NET_BIND_SERVICE, without: denied, steps: socket(unix.AF_INET, unix.SOCK_STREAM, sockOptions{}, sockAddr{IP: []byte{127, 0, 0, 77}, Port: 1})},
		"a marked socket":     {demand: "cap:net_admin", cap: unix.CAP_NET_ADMIN, steps: socket(unix.AF_UNIX, unix.SOCK_STREAM, ints(unix.SOL_SOCKET, unix.SO_MARK, 5), sockAddr{})},
		"a socket before all": {demand: "cap:net_admin", cap: unix.CAP_NET_ADMIN, steps: socket(unix.AF_UNIX, unix.SOCK_STREAM, ints(unix.SOL_SOCKET, unix.SO_PRIORITY, 7), sockAddr{})},
		"a debugged socket":   {demand: "cap:net_admin", cap: unix.CAP_NET_ADMIN, without: denied, steps: socket(unix.AF_UNIX, unix.SOCK_STREAM, ints(unix.SOL_SOCKET, unix.SO_DEBUG, 1), sockAddr{})},
		"somebody else's file": {demand: "own:1:1", cap: unix.CAP_CHOWN, steps: func(h *kind.Host) []plan.Step {
			return ghostRecord{Name: []byte("x"), Mode: 0o600, UID: 1, GID: 1}.plan(h)
		}},
		"a closed file": {demand: "file:inode 3:r", cap: unix.CAP_DAC_OVERRIDE, without: denied, steps: func(h *kind.Host) []plan.Step {
			inode := *h
			inode.Self = plan.Ref{Site: plan.Inode, ID: 3}
			return append(regfileRecord{Path: []byte(secret), View: true}.plan(&inode), planFile(fileRecord{Inode: 3}, h)...)
		}},
	}
}

func largerLimit(h *kind.Host) []plan.Step {
	var r rlimitsRecord
	for n := range r.Limits {
		r.Limits[n] = rlimit(h.Caller.Limits[n])
	}
	r.Limits[unix.RLIMIT_RTPRIO].Max++
	return r.plan(h)
}

// TestTightNeeds: with exactly the authority that its steps demand a plan can
// be carried out by somebody who is nobody otherwise, and without it the
// kernel refuses: no demand is too much, and none is missing.
func TestTightNeeds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can become others")
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 16, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was)
	defer unix.RawSyscall(unix.SYS_MUNMAP, 0, 0x1000, 0) // "a low address"
	for name, n := range tightNeeds(t) {
		t.Run(name, func(t *testing.T) {
			if !bounding().Has(uint(n.cap)) {
				t.Skipf("nobody on this machine has %s; a virtual machine has (test/kernel)", credmap.CapName(uint(n.cap)))
			}
			without := n.without
			if without == nil {
				without = []unix.Errno{unix.EPERM}
			}
			err := asNobody(t, n.beside, func(h *kind.Host) error { return carryOut(n.steps(h)) })
			if !slices.ContainsFunc(without, func(e unix.Errno) bool { return errors.Is(err, e) }) {
				t.Errorf("without %s: %v", credmap.CapName(uint(n.cap)), err)
			}
			able := append([]int{n.cap}, n.beside...)
			var demands []string
			if err := asNobody(t, able, func(h *kind.Host) error {
				steps := n.steps(h)
				demands = demanded(steps)
				return carryOut(steps)
			}); err != nil {
				t.Errorf("with %s: %v", credmap.CapName(uint(n.cap)), err)
			}
			if !slices.Equal(demands, []string{n.demand}) {
				t.Errorf("it demands %v, not %s", demands, n.demand)
			}
		})
	}
}

// demanded lists the demands of a plan, each once.
func demanded(steps []plan.Step) []string {
	var out []string
	for _, s := range steps {
		for _, n := range s.Needs {
			if !slices.Contains(out, n.Demand) {
				out = append(out, n.Demand)
			}
		}
	}
	return out
}

// asNobody runs f on a thread that is nobody, but for some capabilities, and
// ends the thread. The host's caller is the same without them.
func asNobody(t *testing.T, caps []int, f func(*kind.Host) error) error {
	t.Helper()
	var limits abi.Limits
	for n := range limits {
		var l unix.Rlimit
		if err := unix.Getrlimit(n, &l); err != nil {
			t.Fatal(err)
		}
		limits[n] = abi.Rlimit{Cur: l.Cur, Max: l.Max}
	}
	limits[unix.RLIMIT_NICE] = abi.Rlimit{}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		h := &kind.Host{Self: plan.Ref{Site: plan.OpenFile, ID: 9}, Kernel: "6.18.0", InTree: func(kind.PID) bool { return true }}
		err := becomeNobody(h, capsOf(caps...))
		if err == nil {
			h.Caller.Limits, h.Caller.Born.Limits = limits, limits
			err = f(h)
		}
		done <- err
	}()
	return <-done
}

func becomeNobody(h *kind.Host, caps credmap.Caps) error {
	me := kind.Creds{UID: sameUID(nobodyID), GID: sameGID(nobodyID), Groups: []credmap.GID{nobodyID},
		Caps: kind.CapSets{Bounding: bounding()}}
	h.Caller.Creds, h.Caller.Born.Creds = me, me
	h.Caller.Born.Caps.Permitted, h.Caller.Born.Caps.Effective = caps, caps
	root := kind.Creds{Caps: kind.CapSets{Permitted: bounding(), Effective: bounding(), Bounding: bounding()}, Groups: []credmap.GID{0, 1, 2}}
	w := credsWalk{h: h, cur: root, want: h.Caller.Born.Creds}
	w.walk()
	var calls []plan.Call
	for _, op := range w.ops {
		calls = append(calls, op.(plan.Call))
	}
	_, err := perform(calls)
	return err
}

// bounding is the bounding set of this process.
func bounding() credmap.Caps {
	var set credmap.Caps
	for bit := range uint(64) {
		if v, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0); err == nil && v == 1 {
			set |= 1 << bit
		}
	}
	return set
}

// carryOut performs a plan on this thread, whoever is to perform it, and
// closes what it opened.
func carryOut(steps []plan.Step) error {
	named := map[plan.Ref]int64{}
	defer func() {
		for _, fd := range named {
			if fd > 2 {
				unix.Close(int(fd))
			}
		}
	}()
	for _, s := range steps {
		for _, op := range s.Ops {
			if c, ok := op.(plan.Call); ok {
				res, err := performOne(resolved(c, named))
				if err != nil {
					return fmt.Errorf("%s: %w", s.Text, err)
				}
				c.Named(res, func(r plan.Ref, v int64) { named[r] = v })
			}
		}
	}
	return nil
}

// resolved puts numbers in the place of descriptors.
func resolved(c plan.Call, named map[plan.Ref]int64) plan.Call {
	c.Args = slices.Clone(c.Args)
	for i, a := range c.Args {
		if c.Args[i] = numbered(a, named); a.Kind == plan.ArgOut {
			c.Args[i].Relocs = nil
		}
	}
	return c
}

func numbered(a plan.Arg, named map[plan.Ref]int64) plan.Arg {
	switch a.Kind {
	case plan.ArgFD, plan.ArgResult:
		return plan.Int(named[a.Ref])
	case plan.ArgFDPath:
		return plan.Str(fmt.Sprintf("/proc/self/fd/%d", named[a.Ref]))
	}
	a.Relocs = slices.Clone(a.Relocs)
	for i := range a.Relocs {
		a.Relocs[i].Arg = numbered(a.Relocs[i].Arg, named)
	}
	return a
}
