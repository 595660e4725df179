package policy

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/plan"
)

// applies says why a rule has nothing to say about a request, and after how
// many conditions that did hold; why is empty where all do.
func (rule *Rule) applies(r *Request) (n int, why string) {
	v := &r.Verdict
	for _, condition := range []struct {
		holds bool
		why   string
	}{
		{anyMatches(rule.Signers, v.Signer), fmt.Sprintf("%+q is none of its signers", v.Signer)},
		{slices.Contains(rule.Classes, class{v.Class}), fmt.Sprintf("a signature of class %s is not among its classes", v.Class)},
		{len(rule.Keys) == 0 || anyMatches(rule.Keys, v.Algorithm), fmt.Sprintf("%s is none of its keys", v.Algorithm)},
		{rule.calledBy(r), fmt.Sprintf("%s is none of its callers", r.Caller.Name)},
		{rule.fromHost(r), "the image is of a host that it does not name"},
		{!rule.Attested || r.Attested, "it wants the dumping host to be attested"},
		{rule.MaxAge.Duration == 0 || r.Now.Sub(v.When) <= rule.MaxAge.Duration, fmt.Sprintf("the image is older than %v", rule.MaxAge.Duration)},
		{rule.Replay || r.Once, "the image could be restored again (replay)"},
		{rule.unsaid(r) == "", fmt.Sprintf("the image does not say what %s held (inputs)", rule.unsaid(r))},
	} {
		if !condition.holds {
			return n, condition.why
		}
		n++
	}
	return n, ""
}

// unsaid is an input of which the image says nothing; empty: there is none.
func (rule *Rule) unsaid(r *Request) string {
	for _, t := range rule.Inputs {
		if !slices.ContainsFunc(r.Inputs, func(in Input) bool { return in.Path == t.path }) {
			return t.path
		}
	}
	return ""
}

func (rule *Rule) calledBy(r *Request) bool {
	return called(rule.Users, rule.Groups, &r.Caller, r.Names)
}

// called says whether a caller is one of users, or a member of one of groups.
func called(users, groups []who, c *Subject, names Directory) bool {
	for _, u := range users {
		if u.all() || u.name == c.Name && c.Name != "" || u.name == "" && u.id == c.UID {
			return true
		}
	}
	for _, g := range groups {
		if g.all() || slices.ContainsFunc(c.Groups, func(id uint32) bool {
			return names != nil && g.is(id, names.Group) || g.name == "" && g.id == id
		}) {
			return true
		}
	}
	return false
}

func (rule *Rule) fromHost(r *Request) bool {
	if len(rule.Hosts) == 0 {
		return r.here()
	}
	return slices.ContainsFunc(rule.Hosts, func(h string) bool {
		return h == "any" || h == "here" && r.here() || r.Host != "" && h == r.Host
	})
}

// refuses says why a rule that applies does not grant a want; empty if it does.
func (rule *Rule) refuses(r *Request, w *Want) string {
	why := ""
	for _, demand := range append([]string{w.Need.Demand}, w.Need.Any...) {
		d, err := plan.ParseDemand(demand)
		if err != nil {
			continue
		}
		more := rule.Grant.refuses(rule, r, w, d)
		if more == "" {
			return ""
		}
		if why == "" {
			why = more
		}
	}
	return why
}

func (g *Grant) refuses(rule *Rule, r *Request, w *Want, d plan.Demand) string {
	is := func(s string) func(word) bool { return func(w word) bool { return w.s == s } }
	granted := false
	switch d.Term {
	case "uid", "open-as":
		return g.bindsUser(r, w.UID, d.ID)
	case "gid":
		return bindsGroup(r, "gids", g.GIDs, w.GID, d.ID)
	case "group+":
		return bindsGroup(r, "groups", g.Groups, w.GID, d.ID)
	case "group-":
		granted = slices.ContainsFunc(g.LeaveGroups, func(o who) bool { return o.all() || o.is(d.ID, r.group()) })
	case "own":
		return g.owns(r, w)
	case "memory":
		return rule.believes(r, w, d.Name)
	case "cap":
		granted = slices.ContainsFunc(g.Caps, func(c capability) bool { return c.name == d.Name })
	case "loosen":
		granted = slices.ContainsFunc(g.Loosen, is(d.Name))
	case "limit":
		granted = slices.ContainsFunc(g.Limits, is(d.Name))
	case "rlimit":
		granted = slices.ContainsFunc(g.RLimits, is(d.Name))
	case "ns":
		granted = slices.ContainsFunc(g.Namespaces, is(d.Name))
	case "file":
		granted = slices.ContainsFunc(g.Files, func(f files) bool { return f.Tree.holds(d.Name) && f.Mode.covers(d.Mode) })
	case "pid:here":
		granted = slices.ContainsFunc(g.PIDs, func(m pidMode) bool { return m.s == "here" })
	default:
		granted = slices.ContainsFunc(g.Also, func(a also) bool { return a.s == d.Term })
	}
	if granted {
		return ""
	}
	return "it does not grant " + w.Need.Demand
}
