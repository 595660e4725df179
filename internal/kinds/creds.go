package kinds

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type credsRecord struct {
	Creds kind.Creds `cbor:"1,keyasint"`
}

// Creds keeps a thread's credentials: ids, groups, capability sets,
// securebits, no_new_privs. Linux has them per thread; the C library makes
// processes of it.
//
// All but the securebits are read from /proc. Those the kernel tells only to
// the thread itself, so they are what it says they are: a target whose memory
// somebody else can write could hide that it was restricted by them. They
// are never a reason to grant anything. Where that matters, the answer is to
// be had from the register of a traced system call (PTRACE_GET_SYSCALL_INFO)
// instead of the target's memory.
func Creds() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, credsRecord]{
		Name:  "creds",
		At:    plan.Thread,
		Ask:   asks[*kind.ThreadSite](prctlAsk(unix.PR_GET_SECUREBITS)),
		Dump:  dumpCreds,
		Check: credsRecord.check,
		Plan:  credsRecord.plan,
	})
}

func dumpCreds(_ kind.Dump, t *kind.ThreadSite, asked []plan.Result) (credsRecord, error) {
	c := kind.CredsOf(t.Status)
	if err := answer(asked[0], "the securebits"); err != nil {
		return credsRecord{}, err
	}
	c.Securebits = uint32(asked[0].Ret)
	return credsRecord{c}, nil
}

// Securebits of capabilities(7).
const (
	secKeepCaps  = 1 << 4
	secKnownBits = 1<<12 - 1 // with those for interpreters, of Linux 6.14
	// secOwnBits are everybody's own to set: keepcaps, which execve(2) clears,
	// and those for interpreters (cap_task_prctl in security/commoncap.c).
	secOwnBits = secKeepCaps | 0xf<<8
)

const maxGroups = 65536 // NGROUPS_MAX

func (r credsRecord) check() error {
	c := r.Creds
	for _, id := range []credmap.UID{c.UID.Real, c.UID.Effective, c.UID.Saved, c.UID.FS} {
		if id == ^credmap.UID(0) {
			return errors.New("user id -1 means none")
		}
	}
	for _, id := range append([]credmap.GID{c.GID.Real, c.GID.Effective, c.GID.Saved, c.GID.FS}, c.Groups...) {
		if id == ^credmap.GID(0) {
			return errors.New("group id -1 means none")
		}
	}
	switch k := c.Caps; {
	case len(c.Groups) > maxGroups || !slices.IsSorted(c.Groups):
		return errors.New("groups are too many or not sorted")
	case !k.Effective.Within(k.Permitted):
		return errors.New("a capability is effective but not permitted")
	case !k.Ambient.Within(k.Permitted & k.Inheritable):
		return errors.New("a capability is ambient but not both permitted and inheritable")
	case c.Securebits&^secKnownBits != 0:
		return fmt.Errorf("unknown securebits %#x", c.Securebits)
	}
	return nil
}

// Wears implements kind.Wears.
func (r *credsRecord) Wears() kind.Creds { return r.Creds }

// plan is empty where the thread is born with just these credentials.
func (r credsRecord) plan(h *kind.Host) []plan.Step {
	caller := h.Caller
	w := credsWalk{h: h, cur: caller.Born.Creds, want: r.Creds}
	w.walk()
	needs := credsNeeds(r.Creds, caller.Creds)
	steps := credsLost(r.Creds, caller.Born.Creds)
	if len(w.ops)+len(needs) > 0 && len(steps) == 0 {
		steps = append(steps, plan.Step{Stage: plan.Creds, Needs: needs, Ops: w.ops,
			Text: fmt.Sprintf("become user %d, group %d", r.Creds.UID.Effective, r.Creds.GID.Effective)})
	}
	if r.Creds.NoNewPrivs && !caller.Born.NoNewPrivs {
		steps = append(steps, oneStep(plan.Seal, "set no_new_privs",
			prctlIn(h, unix.PR_SET_NO_NEW_PRIVS, plan.Int(1)))...)
	}
	return steps
}
