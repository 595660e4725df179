package policy

import (
	"fmt"
	"slices"
)

// Target is a process that somebody wants to dump.
type Target struct {
	PID     uint32
	UID     uint32 // real
	Program string // the path of its executable
}

// MayDump judges a dump of processes that the caller could not trace: of all of
// a tree, by one rule, which is nil where none lets her; why is what stands in
// the way.
func (p *Policy) MayDump(caller Subject, targets []Target, names Directory) (by *DumpRule, why string) {
	why = "there is no dump rule in a policy here"
	switch {
	case caller.Name == "":
		return nil, "this host does not know the caller"
	case caller.Locked:
		return nil, fmt.Sprintf("the account of %s is disabled", caller.Name)
	case p == nil:
		return nil, why
	}
	for _, rule := range p.Dump {
		if !called(rule.Users, rule.Groups, &caller, names) {
			why = fmt.Sprintf("rule %s: %s is none of its callers", rule.Name, caller.Name)
			continue
		}
		refusal := rule.refuses(targets, names)
		if refusal == "" {
			return rule, ""
		}
		why = fmt.Sprintf("rule %s: %s", rule.Name, refusal)
	}
	return nil, why
}

// Reads are the paths of the rule's inputs.
func (rule *DumpRule) Reads() (paths []string) {
	for _, t := range rule.Inputs {
		paths = append(paths, t.path)
	}
	return paths
}

func (rule *DumpRule) refuses(targets []Target, names Directory) string {
	var find func(string) (uint32, bool)
	if names != nil {
		find = names.User
	}
	for _, t := range targets {
		switch {
		case !slices.ContainsFunc(rule.Of, func(w who) bool { return w.is(t.UID, find) }):
			return fmt.Sprintf("process %d is of user %d, whose processes it does not name", t.PID, t.UID)
		case len(rule.Programs) > 0 && !slices.ContainsFunc(rule.Programs, func(p tree) bool { return p.path == t.Program }):
			return fmt.Sprintf("process %d runs %+q, which is none of its programs", t.PID, t.Program)
		}
	}
	return ""
}
