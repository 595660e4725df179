package restore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// An elevated restore is one by a set-user-id rstr whose policy granted
// something. All threads of rstr act as the caller, but the tracer's: that one
// is root, with the capabilities that the plan takes and no others, and so are
// the tasks until they take on their own credentials, the last thing but one
// that they do. They are not dumpable all that time, so that no process of the
// caller's can reach into them. What the tool does, it does as the caller, but
// for steps that need what was granted.

// Deadline is how long an elevated restore may take from the judgement to the
// moment when tasks take on their credentials: a caller can stop rstr, and go
// on with it when what was judged is not true any more.
const Deadline = 30 * time.Second

// always is what it takes to make tasks that are not dumpable, and to have
// them become somebody else.
const always = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_KILL

// authority is what a plan takes of the capabilities that rstr has.
func authority(d policy.Decision) credmap.Caps {
	caps := credmap.Caps(always)
	for _, w := range d.Wants {
		if x, err := plan.ParseDemand(w.Need.Demand); err == nil && !w.Own {
			caps |= capsFor(x)
		}
	}
	return caps
}

// Ceiling are the capabilities that an elevated restore of an image may need at
// most, by the ceiling of needs in its signed header.
func Ceiling(classes []string) credmap.Caps {
	caps := credmap.Caps(always)
	for _, class := range classes {
		d := plan.Demand{Term: class}
		if name, ok := strings.CutPrefix(class, "cap:"); ok {
			d = plan.Demand{Term: "cap", Name: name}
		}
		caps |= capsFor(d)
	}
	return caps
}

// belowCeiling refuses what goes beyond the ceiling that was signed.
func (p *prospect) belowCeiling() {
	classes := p.manifest.Header.Ceiling
	for i := range p.decision.Wants {
		w := &p.decision.Wants[i]
		d, err := plan.ParseDemand(w.Need.Demand)
		if w.Own || err == nil && slices.Contains(classes, d.Class()) {
			continue
		}
		w.Granted, w.By, w.Nearest = false, "", fmt.Sprintf("%s goes beyond the ceiling of needs in the signed header (ckpt --for writes one)", w.Need.Demand)
		p.decision.OK = false
	}
}

// capsFor are the capabilities by which a demand can be met.
func capsFor(d plan.Demand) credmap.Caps {
	switch d.Term {
	case "cap":
		if bit, ok := credmap.CapNamed(d.Name); ok {
			return 1 << bit
		}
	case "pid:here", "exe-link", "map-files":
		return 1 << capCheckpointRestore
	case "own":
		return 1<<capChown | 1<<unix.CAP_FOWNER
	case "file":
		return 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	case "rlimit", "oom":
		return 1 << capSysResource
	case "limit":
		return 1<<capSysResource | 1<<capIPCLock
	case "sched":
		return 1 << capSysNice
	case "seccomp-no-nnp", "ns":
		return 1 << capSysAdmin
	}
	return 0
}

// confine drops what the plan does not take, in every thread, and plans again
// for tasks that are born with the rest.
func (p *prospect) confine(o *Options) error {
	if !slices.ContainsFunc(p.decision.Wants, func(w policy.Judged) bool { return !w.Own }) {
		var err error
		if o.Caller, err = o.Plain(); err != nil {
			return err
		}
		o.Elevated = false
		return p.replan(o)
	}
	if root := &p.tree.Tasks[0]; root.Session != root.PID {
		return fmt.Errorf("process %d was in a session that is not the tree's own: the caller's has her terminal, and gets nobody else's program", root.PID)
	}
	born := &o.Caller.Born.Caps
	caps := authority(p.decision) & born.Permitted
	born.Permitted, born.Effective = caps, caps
	if err := p.replan(o); err != nil {
		return err
	}
	p.mark(o)
	return kernelio.Restrict(abi.CapSet(caps))
}

// replan plans again for tasks that are born otherwise.
func (p *prospect) replan(o *Options) error {
	p.steps = p.plan(kind.Host{Caller: o.Caller, Kernel: o.Kernel, Here: o.Here, NoTerminal: p.strange, Executed: o.executes()})
	return p.checkFlow(p.steps)
}

// mark notes which steps the tool does by a grant. An object that becomes
// somebody else's is no more the caller's to settle.
func (p *prospect) mark(o *Options) {
	r := rights{&o.Caller, p.files, sum(p.steps)}
	others := map[plan.Ref]bool{}
	for i := range p.steps {
		st := &p.steps[i]
		for _, n := range st.Needs {
			if !r.has(n) {
				st.granted = true
				if d, err := plan.ParseDemand(n.Demand); err == nil && d.Term == "own" {
					others[st.ref] = true
				}
			}
		}
		st.granted = st.granted || others[st.ref] && st.Stage >= plan.Settle
	}
}

// rise makes the tracer's thread root's.
func (s *session) rise() error {
	if !s.opts.Elevated {
		return nil
	}
	var err error
	if s.before, err = kernelio.ThreadCredentials(); err != nil {
		return err
	}
	caps := abi.CapSet(s.opts.Caller.Born.Caps.Permitted)
	return kernelio.TakeOn(kernelio.Credentials{Permitted: caps, Effective: caps})
}

// descend makes the tracer's thread, which lives on, like all others again.
func (s *session) descend() error {
	if !s.opts.Elevated {
		return nil
	}
	return kernelio.TakeOn(s.before)
}

// aside runs f on another thread than the tracer's: as the caller.
func aside(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// humble takes from the stub what root gets by executing a file: capabilities
// beyond the plan's, and the caller's keys (keyctl(2)).
func (s *session) humble() error {
	if !s.opts.Elevated {
		return nil
	}
	caps := abi.CapSet(s.opts.Caller.Born.Caps.Permitted)
	p := newProgram(s, nil)
	for _, c := range []plan.Call{
		{Nr: unix.SYS_CAPSET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.Buf(abi.CapData(caps, caps, 0))}},
		{Nr: unix.SYS_KEYCTL, Args: []plan.Arg{plan.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), plan.Int(0)},
			Ret: plan.Ret{Tolerate: []uint16{uint16(unix.ENOSYS)}}},
	} {
		if err := p.Add(c, nil); err != nil {
			return err
		}
	}
	return s.stub.Space.Run(s.stub.Thread, p.Inject)
}

// shed takes from a process that is to die all that a task is born with in an
// elevated restore. What it was, nothing tells: it gets the real ids that its
// parent is to have, or the caller's.
func (s *session) shed(b *body) []plan.Call {
	if !s.opts.Elevated {
		return nil
	}
	c, ok := s.worn(plan.Ref{Site: plan.Task, ID: uint32(b.node.Parent)})
	if !ok {
		c = s.opts.Caller.Creds
	}
	return become(c)
}

// become has a process be of the real ids and the groups, and no more, for good.
func become(c kind.Creds) []plan.Call {
	u, g := plan.Int(c.UID.Real), plan.Int(c.GID.Real)
	return []plan.Call{
		setGroups(c.Groups),
		{Nr: unix.SYS_SETRESGID, Args: []plan.Arg{g, g, g}},
		{Nr: unix.SYS_SETRESUID, Args: []plan.Arg{u, u, u}},
		{Nr: unix.SYS_CAPSET, Args: []plan.Arg{plan.Buf(abi.CapHeader(0)), plan.Buf(abi.CapData(0, 0, 0))}},
	}
}

// again judges once more, as the caller, before anything takes on credentials.
func (s *session) again() error {
	if !s.opts.Elevated {
		return nil
	}
	if took := time.Since(s.since); took > Deadline {
		return fmt.Errorf("%v have passed since this restore was judged, which may take %v", took.Round(time.Second), Deadline)
	}
	if s.opts.Again == nil {
		return nil
	}
	return aside(s.opts.Again)
}
