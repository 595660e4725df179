package restore

import (
	"bytes"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// rights are what a plain process of the caller may do. A need is only what
// goes beyond.
type rights struct {
	caller *kind.Caller
	files  map[string]*found
	sums   map[string]uint64 // what the tree takes of each limit
}

// has says whether the caller has what a need demands, or one of its
// alternatives.
func (r *rights) has(n plan.Need) bool {
	return r.hasDemand(n.Demand) || slices.ContainsFunc(n.Any, r.hasDemand)
}

func (r *rights) hasDemand(s string) bool {
	d, err := plan.ParseDemand(s)
	if err != nil {
		return false
	}
	switch d.Term {
	case "file":
		return r.mayOpen(d)
	case "cap":
		bit, ok := credmap.CapNamed(d.Name)
		return ok && r.can(bit)
	case "own":
		return r.can(capChown) || d.ID == uint32(r.caller.UID.FS) && r.member(credmap.GID(d.GID))
	case "limit":
		return r.within(d.Name)
	case "rlimit", "oom":
		return r.can(capSysResource)
	case "sched":
		return r.can(capSysNice)
	case "pid:here", "exe-link", "map-files":
		return r.can(capCheckpointRestore) || r.can(capSysAdmin)
	case "seccomp-no-nnp":
		return r.can(capSysAdmin)
	case "root-dir":
		return r.can(capSysChroot)
	case "uffd-kernel":
		return r.can(capSysPtrace)
	}
	return false // another's ids, a restriction less, a namespace, a label
}

func (r *rights) can(capability uint) bool { return r.caller.Caps.Effective.Has(capability) }

func (r *rights) member(g credmap.GID) bool {
	return g == r.caller.GID.FS || slices.Contains(r.caller.Groups, g)
}

// mayOpen: what has no path is made by rstr itself, as the caller.
func (r *rights) mayOpen(d plan.Demand) bool {
	wanted := map[string]int{"r": unix.R_OK, "w": unix.W_OK, "rw": unix.R_OK | unix.W_OK, "x": unix.X_OK}[d.Mode]
	if d.Name[0] == '/' {
		return kernelio.Access(unix.AT_FDCWD, d.Name, wanted) == nil
	}
	f := r.files[d.Name]
	return f == nil || (f.read || wanted&unix.R_OK == 0) && (f.write || wanted&unix.W_OK == 0) && (f.exec || wanted&unix.X_OK == 0)
}

// within says whether all that the tree takes of a limit is less than the
// limit. Huge pages are anybody's as far as there are any.
func (r *rights) within(limit string) bool {
	switch limit {
	case "memlock":
		return r.can(capIPCLock) || r.sums[limit] <= r.caller.Limits[unix.RLIMIT_MEMLOCK].Cur
	case "pipe":
		return r.can(capSysResource) || r.sums[limit] <= sysctl("fs/pipe-max-size")
	case "tasks":
		return r.can(capSysResource) || r.can(capSysAdmin) || r.sums[limit] <= r.caller.Limits[unix.RLIMIT_NPROC].Cur
	case "watches":
		return r.sums[limit] <= sysctl("fs/inotify/max_user_watches")
	}
	return limit == "hugetlb"
}

// sysctl is a number below /proc/sys, such as fs/pipe-max-size, to which anybody
// may enlarge a pipe (proc_sys_fs(5)); 0 if it can't be read.
func sysctl(name string) uint64 {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

// sum adds up what the steps take of each limit. A pipe's limit is for each.
func sum(steps []step) map[string]uint64 {
	out := map[string]uint64{}
	for i := range steps {
		for _, n := range steps[i].Needs {
			switch d, err := plan.ParseDemand(n.Demand); {
			case err != nil || d.Term != "limit":
			case d.Name == "pipe":
				out[d.Name] = max(out[d.Name], n.Amount)
			default:
				out[d.Name] += n.Amount
			}
		}
	}
	return out
}

// Capabilities of linux/capability.h.
const (
	capChown             = 0
	capIPCLock           = 14
	capSysChroot         = 18
	capSysPtrace         = 19
	capSysAdmin          = 21
	capSysNice           = 23
	capSysResource       = 24
	capCheckpointRestore = 40
)
