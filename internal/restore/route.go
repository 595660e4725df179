package restore

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Route is a way to the PIDs of a tree.
type Route uint8

// The routes.
const (
	Auto       Route = iota // the first of the others that leads there
	Here                    // its own PIDs, in rstr's PID namespace
	Namespace               // its own PIDs, in a new PID namespace
	Renumbered              // whatever PIDs are free
	Cycled                  // its own PIDs, by making tasks until the number comes
	LastPID                 // its own PIDs, by the right to say which one was last
)

var routeNames = [...]string{"auto", "here", "pidns", "none", "cycle", "last-pid"}

func (r Route) String() string {
	if int(r) < len(routeNames) {
		return routeNames[r]
	}
	return fmt.Sprintf("route(%d)", uint8(r))
}

// ParseRoute reads what String writes.
func ParseRoute(s string) (Route, error) {
	if i := slices.Index(routeNames[:], s); i >= 0 {
		return Route(i), nil
	}
	return Auto, fmt.Errorf("%+q is no way to PIDs", s)
}

// renumbers says whether the tree gets other numbers than it had.
func (r Route) renumbers() bool { return r == Renumbered }

// number is the one place where a recorded number becomes the one that the
// task has here. 0: it has none yet.
func (s *session) number(recorded kind.PID) kind.PID {
	if s.numbers == nil {
		return recorded
	}
	return s.numbers[recorded]
}

// name notes which number a task was given.
func (s *session) name(recorded kind.PID, actual int64) {
	if s.numbers != nil {
		s.numbers[recorded] = kind.PID(actual)
	}
}

// settle decides on what nobody has told.
func (o *Options) settle() {
	if o.Route == Auto {
		o.Route = Here
	}
	if o.Route == Here && !setsTID(o.Kernel) {
		o.Route = LastPID
	}
}

// setsTID says whether the kernel lets clone3(2) choose PIDs: since Linux 5.5.
func setsTID(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return true // an attempt will tell
	}
	return major > 5 || major == 5 && minor >= 5
}

// executes says whether address spaces get the link to their executable file
// by executing it, which takes no right.
func (o *Options) executes() bool {
	return !o.Caller.Born.Caps.Effective.Has(capSysAdmin) && !o.Elevated
}

// lowly says whether rstr may do no more than any program of its caller's, but
// for setting PIDs.
func (o *Options) lowly() bool {
	b := &o.Caller.Born
	return b.UID == o.Caller.UID && b.UID.Real != 0 && b.UID.Effective != 0 && b.Caps.Effective&^(1<<capCheckpointRestore) == 0
}

// mapFiles says whether rstr may open links in map_files (proc_pid_map_files(5)).
// What was lent for the numbers is given up before.
func (o *Options) mapFiles() bool { return MayChoose(&o.Caller) && o.Lent == 0 }

// MayChoose says whether the caller may choose PIDs here (clone3(2)).
func MayChoose(c *kind.Caller) bool {
	return c.Caps.Effective.Has(capCheckpointRestore) || c.Caps.Effective.Has(capSysAdmin)
}

// differs says whether a need makes a process another subject than the caller.
func differs(n plan.Need, caller *kind.Caller) bool {
	d, err := plan.ParseDemand(n.Demand)
	if err != nil {
		return true
	}
	if d.Term == "uid" && d.ID == uint32(caller.UID.Real) {
		return false // root's own
	}
	return slices.Contains([]string{"uid", "gid", "group+", "group-", "cap", "loosen", "own", "open-as", "label", "seccomp-no-nnp", "ns", "root-dir"}, d.Term)
}

// differing lists what keeps a tree from getting other numbers than it had: a
// program whose idea of PIDs may be wrong is to have no more rights than its
// caller, whoever would grant them.
func (p *prospect) differing() []error {
	var out []error
	for _, w := range p.decision.Wants {
		if !w.Own && differs(w.Need, p.caller) {
			out = append(out, &StepError{Object: w.Object, Text: "other PIDs", Err: &RenumberedError{w.Need}})
		}
	}
	return out
}

// RenumberedError says why a process can't have another PID than it had.
type RenumberedError struct{ Need plan.Need }

func (e *RenumberedError) Error() string {
	return fmt.Sprintf("%s (%s): with other PIDs than it had no process has other rights than the caller", e.Need.Demand, e.Need.Why)
}
