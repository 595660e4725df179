package kinds

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// procDir reads the live files of a directory below /proc.
type procDir string

func (p procDir) Read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(p), name))
}
func (p procDir) Link(name string) (string, error) {
	return os.Readlink(filepath.Join(string(p), name))
}

// call makes a system call in this thread and ends the test if it fails.
func call(t *testing.T, nr uintptr, args ...plan.Arg) plan.Result {
	t.Helper()
	res, err := performOne(plan.Call{Nr: nr, Args: args})
	if err != nil {
		t.Error(err)
	}
	return res
}

// liveThread is this thread as a site.
func liveThread(t *testing.T) *kind.ThreadSite {
	t.Helper()
	dir := procDir("/proc/thread-self")
	read := func(name string) []byte {
		text, err := dir.Read(name)
		if err != nil {
			t.Error(err)
		}
		return text
	}
	status, err := abi.ParseStatus(read("status"))
	if err != nil {
		t.Error(err)
	}
	stat, err := abi.ParseStat(read("stat"))
	if err != nil {
		t.Error(err)
	}
	return &kind.ThreadSite{ID: 7, TID: kind.PID(status.Pid), Task: sampleTask(), Proc: dir, Status: status, Stat: stat, Do: performOne}
}

// dumpLive makes the record of this thread.
func dumpLive(t *testing.T, k kind.Kind) any {
	t.Helper()
	site := liveThread(t)
	if !k.Match(site) {
		return nil
	}
	asked, err := perform(k.Ask(site))
	if err != nil {
		t.Error(err)
	}
	body, err := k.Dump(nil, site, asked)
	if err != nil {
		t.Error(err)
		return nil
	}
	record, err := k.Decode(k.Version(), body)
	if err != nil {
		t.Error(err)
	}
	return record
}

// liveHost is a host whose caller is this process.
func liveHost(t *testing.T) *kind.Host {
	h := stateHost(plan.Thread)
	h.Caller.Creds = myCreds(t)
	h.Caller.Born.Creds = h.Caller.Creds
	h.Caller.Born.CPUs = bytes.Repeat([]byte{255}, 128)
	return h
}

// carriedOver changes a thread, dumps it, carries the plan out in another
// thread and dumps that: both records must be equal, and unlike that of a
// thread to which nothing was done.
func carriedOver(t *testing.T, k kind.Kind, change func()) {
	t.Helper()
	var changed, fresh, restored any
	aside(t, func() { fresh = dumpLive(t, k) })
	aside(t, func() { change(); changed = dumpLive(t, k) })
	if t.Failed() {
		return
	}
	if reflect.DeepEqual(fresh, changed) {
		t.Errorf("%s: the change does not show: %+v", k.Name(), changed)
		return
	}
	aside(t, func() {
		steps := k.Plan(changed, liveHost(t))
		for _, s := range steps {
			if s.Text == "" {
				t.Errorf("%s: a step without a text", k.Name())
			}
		}
		if err := performPlan(steps); err != nil {
			t.Error(err)
		}
		restored = dumpLive(t, k)
	})
	if !reflect.DeepEqual(restored, changed) {
		t.Errorf("%s: restored %+v, dumped %+v", k.Name(), restored, changed)
	}
}

// scratch is memory that outlives the test, for what the kernel writes when a
// thread ends.
func scratch(t *testing.T, size int) uint64 {
	res := call(t, unix.SYS_MMAP, plan.Int(0), plan.Int(size), plan.Int(unix.PROT_READ|unix.PROT_WRITE),
		plan.Int(unix.MAP_PRIVATE|unix.MAP_ANON), plan.Int(-1), plan.Int(0))
	return uint64(res.Ret)
}

func TestThreadStateCarriedOver(t *testing.T) {
	prctl := func(op int, args ...plan.Arg) { call(t, unix.SYS_PRCTL, prctlArgs(op, args)...) }
	for name, c := range map[string]struct {
		kind   kind.Kind
		change func()
	}{
		"comm":       {Thread(), func() { prctl(unix.PR_SET_NAME, plan.Str("other \xff name")) }},
		"timerslack": {TimerSlack(), func() { prctl(unix.PR_SET_TIMERSLACK, plan.Int(123456)) }},
		"pdeathsig":  {ParentDeathSignal(), func() { prctl(unix.PR_SET_PDEATHSIG, plan.Int(int(unix.SIGURG))) }},
		"mcekill": {MCEKill(), func() {
			prctl(unix.PR_MCE_KILL, plan.Int(unix.PR_MCE_KILL_SET), plan.Int(unix.PR_MCE_KILL_EARLY))
		}},
		"personality": {Personality(), func() { call(t, unix.SYS_PERSONALITY, plan.Int(0x0040000)) }},
		"robustlist": {RobustList(), func() {
			call(t, unix.SYS_SET_ROBUST_LIST, plan.Int(scratch(t, 4096)), plan.Int(abi.SizeofRobustListHead))
		}},
		"cleartid": {ClearTID(), func() { call(t, unix.SYS_SET_TID_ADDRESS, plan.Int(scratch(t, 4096))) }},
		"altstack": {AltStack(), func() {
			call(t, unix.SYS_SIGALTSTACK, plan.Buf(abi.Stack{SP: scratch(t, 1<<16), Size: 1 << 16}.Encode()), plan.Int(0))
		}},
		"nice": {Sched(), func() { call(t, unix.SYS_SETPRIORITY, plan.Int(0), plan.Int(0), plan.Int(5)) }},
		"idle": {Sched(), func() {
			call(t, unix.SYS_SETPRIORITY, plan.Int(0), plan.Int(0), plan.Int(5))
			setSched(t, abi.SchedAttr{Policy: unix.SCHED_IDLE})
		}},
		"fifo": {Sched(), func() {
			call(t, unix.SYS_SETPRIORITY, plan.Int(0), plan.Int(0), plan.Int(-5))
			setSched(t, abi.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1})
		}},
		"batch":  {Sched(), func() { setSched(t, abi.SchedAttr{Policy: unix.SCHED_BATCH, Nice: 3, Runtime: 5e6}) }},
		"rr":     {Sched(), func() { setSched(t, abi.SchedAttr{Policy: unix.SCHED_RR, Priority: 2, Flags: schedResetOnFork}) }},
		"ioprio": {IOPrio(), func() { call(t, unix.SYS_IOPRIO_SET, plan.Int(1), plan.Int(0), plan.Int(3<<13)) }},
		"affinity": {Affinity(), func() {
			call(t, unix.SYS_SCHED_SETAFFINITY, plan.Int(0), plan.Int(8), plan.Buf([]byte{1, 0, 0, 0, 0, 0, 0, 0}))
		}},
		"speculation": {Speculation(), func() {
			prctl(unix.PR_SET_SPECULATION_CTRL, plan.Int(unix.PR_SPEC_STORE_BYPASS), plan.Int(unix.PR_SPEC_DISABLE))
		}},
		"mempolicy": {MemPolicy(), func() {
			call(t, unix.SYS_SET_MEMPOLICY, plan.Int(unix.MPOL_BIND), plan.Buf(binary.LittleEndian.AppendUint64(nil, 1)), plan.Int(64))
		}},
	} {
		t.Run(name, func(t *testing.T) { carriedOver(t, c.kind, c.change) })
	}
}

func setSched(t *testing.T, a abi.SchedAttr) {
	call(t, unix.SYS_SCHED_SETATTR, plan.Int(0), plan.Buf(a.Encode()), plan.Int(0))
}
