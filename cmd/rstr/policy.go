package main

import (
	"time"

	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/verify"
)

// judged asks the administrator's policy. The name service is asked only where
// there is a want that a policy could grant.
func judged(r policy.Request, inputs map[string]string, wants []policy.Want) policy.Decision {
	r.Wants = wants
	d := (*policy.Policy)(nil).Judge(r)
	if d.OK || !r.Verdict.Grants {
		return d
	}
	p, err := host.ReadPolicy(host.SystemPolicy)
	if err != nil {
		return d.Because(err.Error())
	}
	people := &host.People{}
	r.Inputs = host.Inputs(inputs)
	r.Caller, r.Names = people.Caller(r.Caller.UID, r.Caller.GID, r.Caller.Groups), people
	return p.Judge(r)
}

// request is what a policy judges by, but for the wants and what the name
// service knows.
func request(img *verify.Image, c kind.Caller) policy.Request {
	h := &img.Manifest().Header
	r := policy.Request{
		Verdict: img.Verdict(), Attested: img.Verdict().Attested != "", Host: h.Host, ThisHost: host.MachineID(), Once: img.Rule().Once,
		Caller:   policy.Subject{UID: uint32(c.UID.Real), GID: uint32(c.GID.Real)},
		Held:     c.Born.Caps.Permitted,
		RealRoot: c.Born.UID == kind.UIDs{}, Now: time.Now(),
	}
	for _, g := range c.Groups {
		r.Caller.Groups = append(r.Caller.Groups, uint32(g))
	}
	return r
}
