package policy

// Policy is what the administrator allows. The nil Policy is that of a host
// that has none.
type Policy struct{}

// Judge says of each want whether it is granted, and by whom.
func (p *Policy) Judge(r Request) Decision {
	d := Decision{OK: true}
	for _, w := range r.Wants {
		j := p.judge(&r, w)
		d.Wants = append(d.Wants, j)
		d.OK = d.OK && j.Granted
	}
	return d
}

func (p *Policy) judge(r *Request, w Want) Judged {
	switch {
	case w.Own:
		return Judged{Want: w, Granted: true, By: "the caller's own rights"}
	case r.RealRoot && r.Verdict.Grants:
		return Judged{Want: w, Granted: true, By: "root's own trust"}
	case r.FileCap && byFileCap(w.Need.Demand):
		return Judged{Want: w, Granted: true, By: "cap_checkpoint_restore on the installed rstr"}
	}
	return Judged{Want: w, Nearest: nearest(r)}
}

// byFileCap lists what cap_checkpoint_restore is good for: the numbers, and
// two links of /proc. What these lead to, the caller must be able to open or
// execute by herself.
func byFileCap(demand string) bool {
	return demand == "pid:here" || demand == "exe-link" || demand == "map-files"
}

// nearest says what is missing first.
func nearest(r *Request) string {
	switch {
	case !r.Verdict.Signed:
		return "the image is not signed"
	case !r.Verdict.Trusted:
		return "nobody here trusts the image's signature"
	case !r.Verdict.Grants:
		return "the signature grants nothing here"
	}
	return "there is no policy that grants it"
}
