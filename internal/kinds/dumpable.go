package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type dumpableRecord struct {
	Dumpable bool `cbor:"1,keyasint,omitempty"`
}

// Dumpable keeps whether a process may be traced by its own user and leaves a
// core (PR_SET_DUMPABLE(2const)). A process whose core goes to root alone
// becomes one that leaves none: no process can ask for that third value.
func Dumpable() kind.Kind {
	return kind.New(kind.Spec[*kind.TaskSite, dumpableRecord]{
		Name: "dumpable",
		At:   plan.Task,
		Ask:  asks[*kind.TaskSite](prctlAsk(unix.PR_GET_DUMPABLE)),
		Dump: dumpDumpable,
		// Every change of credentials resets it, so it comes after them.
		Plan: func(r dumpableRecord, h *kind.Host) []plan.Step {
			text, v := "make it non-dumpable", 0
			if r.Dumpable {
				text, v = "make it dumpable", 1
			}
			steps := oneStep(plan.Seal, text, prctlIn(h, unix.PR_SET_DUMPABLE, plan.Int(v)))
			if r.Dumpable {
				steps[0].Needs = []plan.Need{{Demand: "loosen:dumpable", Why: "other processes of its user may read its memory and write it"}}
			}
			return steps
		},
	})
}

func dumpDumpable(_ kind.Dump, t *kind.TaskSite, asked []plan.Result) (dumpableRecord, error) {
	if err := answer(asked[0], "dumpability"); err != nil {
		return dumpableRecord{}, err
	}
	says := asked[0].Ret == 1
	owner, err := procOwner(t)
	if err != nil {
		return dumpableRecord{}, err
	}
	if user := t.Status.UID.Effective; user != 0 && says != (owner == user) {
		return dumpableRecord{}, fmt.Errorf("it says that its dumpability is %d, but its files in /proc belong to user %d", asked[0].Ret, owner)
	}
	return dumpableRecord{says}, nil
}

// procOwner is who owns the files in /proc/PID: the process's effective user,
// or root if it is not dumpable (task_dump_owner in fs/proc/base.c).
func procOwner(t *kind.TaskSite) (uint32, error) {
	path := fmt.Sprintf("/proc/%d/status", t.PID)
	res, err := t.Do(plan.Call{Nr: unix.SYS_STATX, Args: []plan.Arg{
		atCwd, plan.Str(path), plan.Int(0), plan.Int(unix.STATX_UID), plan.Out(256)}})
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", path, err)
	}
	return binary.LittleEndian.Uint32(res.Out[0][statxUID:]), nil
}

// statxUID is where stx_uid is in struct statx (linux/stat.h).
const statxUID = 20
