package policy

import "slices"

// Sort says what a Name is the name of.
type Sort uint8

// The sorts of names.
const (
	UserName Sort = iota
	GroupName
	ProgramName
)

// Name is something of this host that a rule speaks of by its name.
type Name struct {
	Rule string
	Sort Sort
	Name string
}

// Named lists the names in a policy, so that somebody who knows the host can
// say which of them are nobody's.
func (p *Policy) Named() []Name {
	var l naming
	for _, r := range p.Restore {
		l.rule = r.Name
		l.who(UserName, r.Users)
		l.who(GroupName, slices.Concat(r.Groups, r.Grant.LeaveGroups))
		l.bindings(UserName, r.Grant.UIDs)
		l.bindings(GroupName, slices.Concat(r.Grant.GIDs, r.Grant.Groups))
		l.programs(r.Programs)
	}
	for _, r := range p.Dump {
		l.rule = r.Name
		l.who(UserName, slices.Concat(r.Users, r.Of))
		l.who(GroupName, r.Groups)
		l.programs(r.Programs)
	}
	return l.found
}

type naming struct {
	rule  string
	found []Name
}

func (l *naming) who(s Sort, all []who) {
	for _, w := range all {
		if w.name != "" && !w.all() {
			l.found = append(l.found, Name{l.rule, s, w.name})
		}
	}
}

func (l *naming) bindings(s Sort, all []binding) {
	for _, b := range all {
		if b.caller {
			continue
		}
		l.who(s, []who{b.to})
		if b.from != b.to {
			l.who(s, []who{b.from})
		}
	}
}

func (l *naming) programs(all []tree) {
	for _, t := range all {
		l.found = append(l.found, Name{l.rule, ProgramName, t.path})
	}
}
