package restore

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// user is a caller without any privilege.
func user(caps ...uint) *kind.Caller {
	c := &kind.Caller{Creds: kind.Creds{UID: kind.UIDs{Real: 1000, Effective: 1000, Saved: 1000, FS: 1000},
		GID: kind.GIDs{Real: 100, Effective: 100, Saved: 100, FS: 100}, Groups: []credmap.GID{7}}}
	for _, bit := range caps {
		c.Caps.Effective |= 1 << bit
	}
	c.Limits[unix.RLIMIT_NPROC] = abi.Rlimit{Cur: 4, Max: 4}
	c.Limits[unix.RLIMIT_MEMLOCK] = abi.Rlimit{Cur: 8192, Max: 1 << 20}
	return c
}

// Each demand is held against what a plain process of the caller may do, one
// step to either side.
func TestRights(t *testing.T) {
	files := map[string]*found{"inode 1": {path: "/a", read: true}, "inode 2": {path: "/b", read: true, write: true},
		"inode 4": {path: "/d", exec: true}}
	for _, c := range []struct {
		demand string
		amount uint64
		caps   []uint
		want   bool
	}{
		{demand: "uid:1001", caps: []uint{7}}, {demand: "gid:7"}, {demand: "group+8"}, {demand: "group-7"},
		{demand: "cap:net_bind_service"}, {demand: "cap:net_bind_service", caps: []uint{10}, want: true},
		{demand: "cap:64", caps: []uint{10}},
		{demand: "own:1000:100", want: true}, {demand: "own:1000:7", want: true}, {demand: "own:1000:8"}, {demand: "own:1001:100"},
		{demand: "own:1001:8", caps: []uint{capChown}, want: true},
		{demand: "limit:memlock", amount: 8192, want: true}, {demand: "limit:memlock", amount: 8193},
		{demand: "limit:memlock", amount: 8193, caps: []uint{capIPCLock}, want: true},
		{demand: "limit:pipe", amount: sysctl("fs/pipe-max-size"), want: true}, {demand: "limit:pipe", amount: sysctl("fs/pipe-max-size") + 1},
		{demand: "limit:pipe", amount: sysctl("fs/pipe-max-size") + 1, caps: []uint{capSysResource}, want: true},
		{demand: "limit:hugetlb", amount: 1 << 40, want: true}, {demand: "limit:tasks", amount: 4, want: true}, {demand: "limit:tasks", amount: 5}, {demand: "limit:tasks", amount: 5, caps: []uint{capSysAdmin}, want: true},
		{demand: "limit:watches", amount: 1, want: true}, {demand: "limit:watches", amount: 1 << 40}, {demand: "limit:whatever"},
		{demand: "rlimit:nofile"}, {demand: "rlimit:nofile", caps: []uint{capSysResource}, want: true},
		{demand: "oom"}, {demand: "oom", caps: []uint{capSysResource}, want: true},
		{demand: "sched"}, {demand: "sched", caps: []uint{capSysNice}, want: true},
		{demand: "pid:here"}, {demand: "pid:here", caps: []uint{capCheckpointRestore}, want: true}, {demand: "pid:here", caps: []uint{capSysAdmin}, want: true},
		{demand: "exe-link"}, {demand: "exe-link", caps: []uint{capCheckpointRestore}, want: true},
		{demand: "map-files"}, {demand: "map-files", caps: []uint{capCheckpointRestore}, want: true},
		{demand: "file:inode 1:r", want: true}, {demand: "file:inode 1:w"}, {demand: "file:inode 1:rw"}, {demand: "file:inode 1:x"}, {demand: "file:inode 4:x", want: true}, {demand: "file:inode 2:rw", want: true},
		{demand: "file:inode 3:rw", want: true}, // made by rstr
		{demand: "file:/dev/null:rw", want: true}, {demand: "file:/nonexistent:r"},
		{demand: "label"}, {demand: "loosen:bset"}, {demand: "ns:net"}, {demand: "open-as:1000"}, {demand: "memory:/bin/true"},
		{demand: "seccomp-no-nnp"}, {demand: "uffd-kernel"}, {demand: "what nobody knows"},
	} {
		r := rights{user(c.caps...), files, sum([]step{{Step: plan.Step{Needs: []plan.Need{{Demand: c.demand, Amount: c.amount}}}}})}
		if got := r.has(plan.Need{Demand: c.demand}); got != c.want {
			t.Errorf("%s of %d with capabilities %v: %v", c.demand, c.amount, c.caps, got)
		}
	}
	r := rights{user(), files, nil}
	if n := (plan.Need{Demand: "sched", Any: []string{"oom", "own:1000:100"}}); !r.has(n) {
		t.Error("one of the alternatives is enough")
	}
}

// What all steps take of a limit together counts, but each pipe for itself.
func TestSum(t *testing.T) {
	need := func(d string, n uint64) step {
		return step{Step: plan.Step{Needs: []plan.Need{{Demand: d, Amount: n}}}}
	}
	got := sum([]step{need("limit:memlock", 4096), need("limit:pipe", 10), need("limit:memlock", 1), need("limit:pipe", 7), need("oom", 5)})
	if got["memlock"] != 4097 || got["pipe"] != 10 || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// An elevated rstr's caller is who she is without it.
func TestPlain(t *testing.T) {
	c := kind.Creds{UID: kind.UIDs{Real: 1000}, GID: kind.GIDs{Real: 5, Effective: 6, Saved: 6, FS: 6},
		Caps: kind.CapSets{Permitted: ^credmap.Caps(0), Effective: ^credmap.Caps(0), Bounding: 3}}
	p := plain(c, true)
	if p.UID != (kind.UIDs{Real: 1000, Effective: 1000, Saved: 1000, FS: 1000}) || p.GID.FS != 5 || p.Caps.Permitted|p.Caps.Effective != 0 || p.Caps.Bounding != 3 {
		t.Errorf("%+v", p)
	}
	if !plain(c, false).Equal(c) {
		t.Error("changed without reason")
	}
}
