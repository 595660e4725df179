package policy

import (
	"fmt"
	"strings"
)

// Explain says in words what a policy allows, a paragraph for each rule.
func (p *Policy) Explain() string {
	var b strings.Builder
	for _, r := range p.Restore {
		r.explain(&b)
	}
	for _, r := range p.Dump {
		fmt.Fprintf(&b, "rule %s: %s may dump processes of %s", r.Name, callers(r.Users, r.Groups), list(r.Of))
		if len(r.Programs) > 0 {
			fmt.Fprintf(&b, " that run %s", list(r.Programs))
		}
		if len(r.Inputs) > 0 {
			fmt.Fprintf(&b, ", with what %s hold", list(r.Inputs))
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "nobody may do anything\n"
	}
	return b.String()
}

func (r *Rule) explain(b *strings.Builder) {
	fmt.Fprintf(b, "rule %s: %s may restore images signed by %s as %s", r.Name, callers(r.Users, r.Groups), list(r.Signers), list(r.Classes))
	if len(r.Keys) > 0 {
		fmt.Fprintf(b, " with %s", list(r.Keys))
	}
	b.WriteString("\n")
	hosts := "this host"
	if len(r.Hosts) > 0 {
		hosts = strings.Join(r.Hosts, ", ")
	}
	fmt.Fprintf(b, "  of %s", hosts)
	if r.Attested {
		b.WriteString(", attested")
	}
	if r.MaxAge.Duration > 0 {
		fmt.Fprintf(b, ", at most %v old", r.MaxAge.Duration)
	}
	if !r.Replay {
		b.WriteString(", once only")
	}
	if len(r.Programs) > 0 {
		fmt.Fprintf(b, ", whose privileged processes run %s", list(r.Programs))
	}
	if len(r.Inputs) > 0 {
		fmt.Fprintf(b, ", while %s hold what they did", list(r.Inputs))
	}
	b.WriteString("\n")
	for _, line := range r.Grant.lines() {
		fmt.Fprintf(b, "  with %s\n", line)
	}
}

// lines says each thing that is granted.
func (g *Grant) lines() []string {
	var out []string
	add := func(n int, format string, values any) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, values))
		}
	}
	add(len(g.UIDs), "the users %s", list(g.UIDs))
	add(len(g.GIDs), "the groups %s", list(g.GIDs))
	add(len(g.Groups), "membership of the groups %s", list(g.Groups))
	add(len(g.LeaveGroups), "the caller's groups left: %s", list(g.LeaveGroups))
	add(len(g.Caps), "the capabilities %s", list(g.Caps))
	add(len(g.Loosen), "the restrictions lost: %s", list(g.Loosen))
	for _, f := range g.Files {
		add(1, "%s", fmt.Sprintf("the files at and below %s open (%s)", f.Tree, f.Mode))
	}
	add(len(g.PIDs), "PIDs: %s", list(g.PIDs))
	add(len(g.Limits), "more than the caller's limits of %s", list(g.Limits))
	add(len(g.RLimits), "hard limits above the caller's: %s", list(g.RLimits))
	add(len(g.Namespaces), "the namespaces %s", list(g.Namespaces))
	add(len(g.Also), "%s", list(g.Also))
	return out
}

func callers(users, groups []who) string {
	var out []string
	for _, u := range users {
		if u.all() {
			return "everybody"
		}
		out = append(out, u.String())
	}
	for _, g := range groups {
		out = append(out, "members of "+g.String())
	}
	return strings.Join(out, ", ")
}

func list[T fmt.Stringer](values []T) string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return strings.Join(out, ", ")
}

func (p pattern) String() string    { return p.s }
func (c capability) String() string { return c.name }
func (w word) String() string       { return w.s }
func (t tree) String() string       { return t.path }
func (m fileMode) String() string   { return m.s }
func (m pidMode) String() string    { return m.s }
func (a also) String() string       { return a.s }
