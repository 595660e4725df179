package policy

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/pkg/verify"
)

// bindsUser wants the very pair of ids, that of the image and that of this
// host, among the bindings: the caller chooses the map, so that a rule which
// named only the target would let her make anybody of her own processes. The
// account of the target must be alive.
func (g *Grant) bindsUser(r *Request, m *Mapped, id uint32) string {
	if m == nil || m.To != id {
		return "it is not known who this was in the image"
	}
	if !slices.ContainsFunc(g.UIDs, func(b binding) bool { return b.is(r, *m, r.Caller.UID, r.user()) }) {
		return fmt.Sprintf("its uids do not bind user %d of the image to user %d", m.From, m.To)
	}
	return r.alive(id)
}

// alive refuses users whom this host does not know or has locked out.
func (r *Request) alive(uid uint32) string {
	if uid == r.Caller.UID || uid == 0 {
		return "" // judged already, or root, who is not locked out by having no password
	}
	if r.Names == nil {
		return fmt.Sprintf("this host does not know user %d", uid)
	}
	a, ok := r.Names.Account(uid)
	switch {
	case !ok:
		return fmt.Sprintf("this host does not know user %d", uid)
	case a.Locked:
		return fmt.Sprintf("the account of %s is disabled", a.Name)
	}
	return ""
}

// bindsGroup looks for the pair among the bindings, which are the rule's list.
func bindsGroup(r *Request, list string, bindings []binding, m *Mapped, id uint32) string {
	if m == nil || m.To != id {
		return "it is not known which group this was in the image"
	}
	if slices.ContainsFunc(bindings, func(b binding) bool {
		if b.caller { // those the caller has now
			return m.From == m.To && r.here() && (m.To == r.Caller.GID || slices.Contains(r.Caller.Groups, m.To))
		}
		return b.is(r, *m, r.Caller.GID, r.group())
	}) {
		return ""
	}
	return fmt.Sprintf("its %s do not bind group %d of the image to group %d", list, m.From, m.To)
}

// is says whether a binding is of just this pair.
func (b binding) is(r *Request, m Mapped, caller uint32, find func(string) (uint32, bool)) bool {
	if b.here && !r.here() {
		return false
	}
	if b.caller {
		return m.From == m.To && m.To == caller
	}
	return b.from.is(m.From, find) && b.to.is(m.To, find)
}

// owns judges whom something that is made would belong to: whoever the rule
// lets a process be, or the caller.
func (g *Grant) owns(r *Request, w *Want) string {
	if w.UID == nil || w.GID == nil {
		return "it is not known whose this was in the image"
	}
	if w.UID.To != r.Caller.UID {
		if why := g.bindsUser(r, w.UID, w.UID.To); why != "" {
			return why
		}
	}
	if gid := w.GID.To; gid == r.Caller.GID || slices.Contains(r.Caller.Groups, gid) {
		return ""
	}
	return bindsGroup(r, "gids and groups", append(slices.Clone(g.GIDs), g.Groups...), w.GID, w.GID.To)
}

// believes judges the memory of a process that is to have privilege. A person
// who signs vouches for it; a host only says whose it was. So a host's needs a
// program that the administrator listed. Either way the process must be the
// caller's own: of this host and not renamed, or renamed as the rule binds.
func (rule *Rule) believes(r *Request, w *Want, program string) string {
	if len(rule.Programs) > 0 && !slices.ContainsFunc(rule.Programs, func(t tree) bool { return t.path == program }) {
		return fmt.Sprintf("%+q is none of its programs", program)
	}
	if w.UID == nil {
		return "it is not known whose process this was"
	}
	if w.UID.From == w.UID.To && r.here() {
		if r.Verdict.Class == verify.Host && w.UID.To != r.Caller.UID {
			return fmt.Sprintf("it was a process of user %d, who is not the caller", w.UID.From)
		}
		return ""
	}
	if !slices.ContainsFunc(rule.Grant.UIDs, func(b binding) bool { return !b.caller && b.is(r, *w.UID, r.Caller.UID, r.user()) }) {
		return fmt.Sprintf("it was a process of user %d, whom the rule does not bind to user %d", w.UID.From, w.UID.To)
	}
	if r.Verdict.Class == verify.Host && w.UID.To != r.Caller.UID {
		return fmt.Sprintf("it would be a process of user %d, who is not the caller", w.UID.To)
	}
	return ""
}
