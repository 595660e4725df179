package restore

import (
	"bytes"
	"encoding/binary"
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

// worn are the credentials that a thread, or the first one of a process, is to
// have in the end.
func (s *session) worn(r plan.Ref) (kind.Creds, bool) {
	if r.Site == plan.Task && s.tasks[r.ID] != nil && len(s.tasks[r.ID].Threads) > 0 {
		r = s.tasks[r.ID].Threads[0].Ref()
	}
	if s.wearing == nil {
		s.wearing = map[plan.Ref]kind.Creds{}
		for i := range s.records {
			if w, ok := s.records[i].body.(kind.Wears); ok {
				s.wearing[s.records[i].ref] = w.Wears()
			}
		}
	}
	c, ok := s.wearing[r]
	return c, ok
}

// wear runs f on a thread with the final credentials of one of the tree's.
func (s *session) wear(r plan.Ref, f func() error) error {
	c, ok := s.worn(r)
	if !ok {
		return fmt.Errorf("it must be done as %s, whose credentials nothing tells", s.nameOf(r))
	}
	name := fmt.Sprintf("%+v", c)
	if s.hands[name] == nil {
		h, err := kernelio.NewHand(credentials(&c))
		if err != nil {
			return err
		}
		if s.hands == nil {
			s.hands = map[string]*kernelio.Hand{}
		}
		s.hands[name] = h
	}
	return s.hands[name].Do(f)
}

func (s *session) closeHands() {
	for _, h := range s.hands {
		h.Close()
	}
	s.hands = nil
}

// namesPath says whether a call finds an object by a path. That is never done
// by a grant, but as the caller, who could have put anything there; a grant
// opens once more what was found. What is mapped into rstr itself is
// nobody's to arrange.
func namesPath(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && (namesSocketFile(c) || slices.ContainsFunc(c.Args, func(a plan.Arg) bool {
		return a.Kind == plan.ArgBuf && bytes.HasPrefix(a.Buf, []byte("/")) && !bytes.HasPrefix(a.Buf, []byte(ownMappings))
	}))
}

// namesSocketFile says whether a call makes a file of a socket or finds one:
// its address is of AF_UNIX, and neither abstract nor empty (unix(7)).
func namesSocketFile(c plan.Call) bool {
	if c.Nr != unix.SYS_BIND && c.Nr != unix.SYS_CONNECT || len(c.Args) < 2 {
		return false
	}
	b := c.Args[1].Buf
	return len(b) > 2 && binary.NativeEndian.Uint16(b) == unix.AF_UNIX && b[2] != 0
}

// lowered are the calls by which a task makes a call as the caller would make
// it. Until tasks take on their own credentials they are root's, who could reach
// and make files that the caller can't, and that nobody granted; and who, with
// few capabilities, could not reach what is hers.
func (s *session) lowered(st *step, c plan.Call) []plan.Call {
	if !s.opts.Elevated || st.Stage >= plan.Creds || !s.hers(st, c) {
		return []plan.Call{c}
	}
	return slices.Concat(fileIDs(&s.opts.Caller.Creds), []plan.Call{c}, fileIDs(&s.opts.Caller.Born.Creds))
}

// fileIDs are the calls that give a task other ids towards files. The kernel
// takes the capabilities that have to do with files away with user 0, and gives
// them back (setfsuid(2)).
func fileIDs(c *kind.Creds) []plan.Call {
	return []plan.Call{
		setGroups(c.Groups),
		{Nr: unix.SYS_SETFSGID, Args: []plan.Arg{plan.Int(c.GID.FS)}},
		{Nr: unix.SYS_SETFSUID, Args: []plan.Arg{plan.Int(c.UID.FS)}},
	}
}

// hers says whether a call of a task that goes by the right to a file is to be
// made by the caller's: she has it, or nobody was asked for it.
func (s *session) hers(st *step, c plan.Call) bool {
	switch c.Nr {
	case unix.SYS_FCHDIR:
		return !st.granted
	case unix.SYS_BIND:
		return namesSocketFile(c)
	case unix.SYS_PRCTL: // of PR_SET_MM_MAP, the link to the executable file
		exe := false
		eachArg(c.Args, func(a *plan.Arg) {
			f := s.files[plan.Ref{Site: a.Ref.Site, ID: a.Ref.ID}.String()]
			exe = exe || a.Kind == plan.ArgFD && f != nil && f.exec
		})
		return exe
	}
	return false
}

// eachArg visits arguments and what is in their buffers.
func eachArg(args []plan.Arg, visit func(*plan.Arg)) {
	for i := range args {
		visit(&args[i])
		for j := range args[i].Relocs {
			eachArg([]plan.Arg{args[i].Relocs[j].Arg}, visit)
		}
	}
}

func setGroups(groups []credmap.GID) plan.Call {
	var ids []byte
	for _, g := range groups {
		ids = binary.LittleEndian.AppendUint32(ids, uint32(g))
	}
	return plan.Call{Nr: unix.SYS_SETGROUPS, Args: []plan.Arg{plan.Int(len(groups)), plan.Buf(append(ids, 0, 0, 0, 0))}}
}

// trueTo looks, before a call is made by a grant, whether the files that it
// names, which were judged where they are, are there under no other name: that
// could be outside of the tree that was granted.
func (s *session) trueTo(op plan.Op) error {
	c, ok := op.(plan.Call)
	if !ok {
		return nil
	}
	for _, a := range c.Args {
		f := s.files[a.Ref.String()]
		fd, made := s.made[a.Ref]
		if a.Kind != plan.ArgFDPath && a.Kind != plan.ArgFD || f == nil || !made {
			continue
		}
		st, err := kernelio.Fstat(int(fd))
		if err != nil {
			return err
		}
		if st.Type() == unix.S_IFREG && st.Nlink != 1 {
			return &HostError{fmt.Sprintf("%+q has %d names, and only one was granted", f.path, st.Nlink)}
		}
	}
	return nil
}

// remembers lists calls whose objects keep the credentials of whoever made
// them, for others to ask for (SO_PEERCRED in unix(7)).
func remembers(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && (c.Nr == unix.SYS_SOCKET || c.Nr == unix.SYS_SOCKETPAIR || c.Nr == unix.SYS_LISTEN)
}

// maker is the process that is to have made an object of a step, if that is
// to be somebody else than who does it.
func (s *session) maker(st *step) (plan.Ref, bool) {
	for i := range s.tree.Tasks {
		t := &s.tree.Tasks[i]
		table := s.tables[t.FDTable]
		if table == nil || !slices.ContainsFunc(table.FDs, func(fd kind.FDNode) bool { return fd.File.Main() == st.ref }) {
			continue
		}
		c, ok := s.worn(t.Ref())
		me := &s.opts.Caller.Born.Creds
		if s.opts.Elevated {
			me = &s.opts.Caller.Creds
		}
		return t.Ref(), ok && (c.UID != me.UID || c.GID != me.GID)
	}
	return plan.Ref{}, false
}

// checkCreds asks /proc whether every thread has become what its record says,
// if any had to become anything.
func (s *session) checkCreds() error {
	if len(s.at(plan.Creds)) == 0 && !s.opts.Elevated {
		return nil
	}
	for i := range s.records {
		r := &s.records[i]
		if w, ok := r.body.(kind.Wears); ok && r.ref.Site == plan.Thread {
			if err := s.checkOne(r.ref, w.Wears()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) checkOne(r plan.Ref, want kind.Creds) error {
	b, th, err := s.actor(r)
	if err != nil {
		return err
	}
	dir, err := kernelio.OpenProc(b.leader.PID())
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.ThreadStatus(th.TID())
	if err != nil {
		return err
	}
	is := kind.CredsOf(st)
	is.Securebits = want.Securebits // which /proc does not show
	if err := s.asShown(&want); err != nil {
		return err
	}
	if !is.Equal(want) {
		return fmt.Errorf("thread %d has the credentials %+v, and not %+v", th.TID(), is, want)
	}
	return nil
}

// asShown puts what /proc shows here of the caller's groups in their place: a
// user namespace of hers has no numbers for most of them, and shows nobody's.
func (s *session) asShown(c *kind.Creds) error {
	if s.opts.Elevated || !slices.Equal(c.Groups, s.opts.Caller.Groups) {
		return nil
	}
	mine, err := kernelio.ThreadCredentials()
	if err != nil {
		return err
	}
	c.Groups = nil
	for _, g := range mine.Groups {
		c.Groups = append(c.Groups, credmap.GID(g))
	}
	return nil
}

// opensUp says whether an operation opens a process to others: it becomes
// dumpable.
func opensUp(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && c.Nr == unix.SYS_PRCTL && len(c.Args) > 1 && c.Args[0].Val == unix.PR_SET_DUMPABLE && c.Args[1].Val != 0
}

// seal does the last steps: those that open a process to others after all
// that share its memory are sealed.
func (s *session) seal() error {
	var open, rest []*progress
	for _, p := range progressOf(s.at(plan.Seal)) {
		if slices.ContainsFunc(p.step.Ops, opensUp) {
			open = append(open, p)
		} else {
			rest = append(rest, p)
		}
	}
	if err := s.carry(rest); err != nil {
		return err
	}
	return s.carry(open)
}
