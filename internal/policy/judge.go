package policy

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// Judge says of each want whether it is granted, and by whom. What the caller
// has anyway, what root's own trust gives and what a file capability of rstr
// gives needs no policy. All the rest must be granted by one rule: a rule that
// grants only some of it grants nothing.
func (p *Policy) Judge(r Request) Decision {
	d := Decision{OK: true}
	var open []int // wants that only a rule could grant
	for _, w := range r.Wants {
		j := Judged{Want: w}
		j.Granted, j.By, j.Nearest = r.without(w)
		if !j.Granted && j.Nearest == "" {
			open = append(open, len(d.Wants))
		}
		d.Wants = append(d.Wants, j)
	}
	p.byRule(&r, d.Wants, open)
	for _, w := range d.Wants {
		d.OK = d.OK && w.Granted
	}
	return d
}

// without judges a want without a policy. Nearest says that no policy can
// grant it.
func (r *Request) without(w Want) (granted bool, by, nearest string) {
	if w.Own {
		return true, "the caller's own rights", ""
	}
	d, err := plan.ParseDemand(w.Need.Demand)
	if err != nil {
		return false, "", "nobody can grant it"
	}
	switch {
	case r.FileCap && byFileCap(d.Term):
		return true, "cap_checkpoint_restore on the installed rstr", ""
	case !r.able(d):
		return false, "", "rstr itself may not (it is not installed so, or its caller is root of a container)"
	case r.RealRoot && r.Verdict.Grants:
		return true, "root's own trust", ""
	}
	return false, "", ""
}

// able says whether rstr has a capability by which the kernel lets it do what
// a demand is about. The kernel's own judgement comes when it is done.
func (r *Request) able(d plan.Demand) bool {
	any := map[string][]string{
		"uid": {"setuid"}, "open-as": {"setuid"}, "gid": {"setgid"}, "group+": {"setgid"}, "group-": {"setgid"}, "own": {"chown"},
		"cap": {d.Name}, "rlimit": {"sys_resource"}, "oom": {"sys_resource"}, "sched": {"sys_nice"}, "ns": {"sys_admin"},
		"pid:here": {"checkpoint_restore", "sys_admin"}, "exe-link": {"checkpoint_restore", "sys_admin"}, "map-files": {"checkpoint_restore", "sys_admin"},
		"seccomp-no-nnp": {"sys_admin"}, "root-dir": {"sys_chroot"}, "file": {"dac_override", "dac_read_search", "setuid"},
	}[d.Term]
	return len(any) == 0 || d.Term == "uid" && d.ID == r.Caller.UID || slices.ContainsFunc(any, func(name string) bool {
		bit, ok := credmap.CapNamed(name)
		return ok && r.Held.Has(bit)
	})
}

// byFileCap lists what cap_checkpoint_restore is good for: the numbers, and
// two links of /proc. What these lead to, the caller must be able to open or
// execute by herself.
func byFileCap(term string) bool {
	return term == "pid:here" || term == "exe-link" || term == "map-files"
}

// byRule lets the first rule that grants all open wants do so; otherwise it
// says of each what came nearest.
func (p *Policy) byRule(r *Request, wants []Judged, open []int) {
	if len(open) == 0 {
		return
	}
	if why := r.mayAsk(); why != "" {
		for _, i := range open {
			wants[i].Nearest = why
		}
		return
	}
	best := p.nearest(r, wants, open)
	for n, i := range open {
		if best.refused == 0 {
			wants[i].Granted, wants[i].By = true, "rule "+best.rule.Name
		} else {
			wants[i].Nearest = best.why[n]
		}
	}
}

// mayAsk says why no rule at all can apply.
func (r *Request) mayAsk() string {
	switch {
	case !r.Verdict.Signed:
		return "the image is not signed"
	case !r.Verdict.Trusted:
		return "nobody here trusts the image's signature"
	case !r.Verdict.Grants:
		return "the signature can grant nothing here"
	case !r.Verdict.ForThisHost:
		return "the image does not name this host as its audience"
	case r.Route == RouteNone:
		return "with renumbered PIDs nothing is granted"
	case r.Caller.Name == "":
		return "this host does not know the caller"
	case r.Caller.Locked:
		return fmt.Sprintf("the account of %s is disabled", r.Caller.Name)
	}
	for _, in := range r.Inputs {
		if !in.Same {
			return fmt.Sprintf("%+q, which the program had read, does not hold what it did at the dump", in.Path)
		}
	}
	return ""
}

// attempt is what a rule made of a request.
type attempt struct {
	rule    *Rule
	refused int
	why     []string // for each open want, "" where the rule would grant it
}

// nearest tries all rules: the first that grants everything, else the one
// that refuses least; of rules that don't apply, the one of which most applies.
func (p *Policy) nearest(r *Request, wants []Judged, open []int) attempt {
	none := "there is no rule in a policy here"
	best, far := attempt{refused: len(open) + 1}, -1
	if p == nil {
		p = &Policy{}
	}
	for _, rule := range p.Restore {
		if n, why := rule.applies(r); why != "" {
			if n > far {
				far, none = n, fmt.Sprintf("rule %s: %s", rule.Name, why)
			}
			continue
		}
		a := rule.try(r, wants, open)
		if a.refused < best.refused {
			best = a
		}
		if a.refused == 0 {
			break
		}
	}
	if best.rule == nil {
		for range open {
			best.why = append(best.why, none)
		}
	}
	return best
}

// try judges all open wants by one rule.
func (rule *Rule) try(r *Request, wants []Judged, open []int) attempt {
	a := attempt{rule: rule}
	for _, i := range open {
		why := rule.refuses(r, &wants[i].Want)
		if why != "" {
			a.refused++
		}
		a.why = append(a.why, why)
	}
	for n, why := range a.why {
		if a.why[n] = fmt.Sprintf("rule %s: %s", rule.Name, why); why == "" {
			a.why[n] = fmt.Sprintf("rule %s would grant it, but not all of the others", rule.Name)
		}
	}
	return a
}
