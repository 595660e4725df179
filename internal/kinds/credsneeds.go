package kinds

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// credsNeeds says what it takes to have these credentials, beyond a process
// that the caller could start: every id other than the caller's real one,
// every group more or less, every capability, and every restriction that
// would be other than the caller's.
func credsNeeds(want, caller kind.Creds) []plan.Need {
	var n needList
	u, g := want.UID, want.GID
	for _, id := range unique(u.Real, u.Effective, u.Saved, u.FS) {
		n.addIf(id != caller.UID.Real, fmt.Sprintf("uid:%d", id), "it runs as this user")
	}
	for _, id := range unique(g.Real, g.Effective, g.Saved, g.FS) {
		n.addIf(id != caller.GID.Real, fmt.Sprintf("gid:%d", id), "it runs as this group")
	}
	for _, id := range unique(want.Groups...) {
		n.addIf(!slices.Contains(caller.Groups, id), fmt.Sprintf("group+%d", id), "it is a member of this group")
	}
	for _, id := range unique(caller.Groups...) {
		n.addIf(!slices.Contains(want.Groups, id), fmt.Sprintf("group-%d", id),
			"it is no member of this group, and files may be closed to just its members")
	}
	n.addCaps(want.Caps, caller.Caps)
	n.addRestrictions(want, caller)
	return n
}

// credsLost are steps without calls for what no call brings back: a larger
// bounding set, and freedom from no_new_privs.
func credsLost(want, born kind.Creds) []plan.Step {
	var n needList
	more := want.Caps.Bounding &^ born.Caps.Bounding
	for bit := range uint(64) {
		if more.Has(bit) {
			n.addIf(true, "loosen:bset", "its bounding set holds "+credmap.CapName(bit)+", which rstr's lacks")
		}
	}
	n.addIf(born.NoNewPrivs && !want.NoNewPrivs, "loosen:no_new_privs", "rstr was started with no_new_privs, and it was not")
	if len(n) == 0 {
		return nil
	}
	return []plan.Step{{Stage: plan.Creds, Text: "be as free as it was", Needs: n}}
}

type needList []plan.Need

func (n *needList) addIf(cond bool, demand, why string) {
	if cond && !slices.ContainsFunc(*n, func(o plan.Need) bool { return o.Demand == demand }) {
		*n = append(*n, plan.Need{Demand: demand, Why: why})
	}
}

func (n *needList) addCaps(want, caller kind.CapSets) {
	more := (want.Permitted|want.Ambient)&^caller.Permitted |
		want.Inheritable&^(caller.Permitted|caller.Inheritable)
	for bit := range uint(64) {
		if more.Has(bit) {
			n.addIf(true, "cap:"+credmap.CapName(bit), "it has this capability")
		}
	}
}

func (n *needList) addRestrictions(want, caller kind.Creds) {
	wb, cb := want.Caps.Bounding, caller.Caps.Bounding
	n.addIf(!wb.Within(cb), "loosen:bset", "its bounding set holds capabilities that the caller's lacks")
	n.addIf(wb != cb && wb.Within(cb), "cap:setpcap", "its bounding set is smaller than the caller's")
	ws, cs := want.Securebits&^secOwnBits, caller.Securebits&^secOwnBits
	n.addIf(cs&^ws != 0, "loosen:securebits", fmt.Sprintf("its securebits %#x lack some of the caller's %#x", ws, cs))
	n.addIf(ws != cs && cs&^ws == 0, "cap:setpcap", "it has securebits that the caller lacks")
	n.addIf(caller.NoNewPrivs && !want.NoNewPrivs, "loosen:no_new_privs", "the caller has no_new_privs and it has not")
}

// unique sorts ids and drops repetitions.
func unique[T credmap.UID | credmap.GID](ids ...T) []T {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}
