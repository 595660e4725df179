package policy

import (
	"testing"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/verify"
)

func want(demand string) Want {
	return Want{Object: "process 1", Need: plan.Need{Demand: demand, Why: "so"}}
}

var granting = verify.Verdict{Signed: true, Trusted: true, Class: verify.Operator, Signer: "ops@here", Grants: true}

// Without a policy only root's own trust grants, and all of it, and a file
// capability its PIDs.
func TestNoPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		r    Request
		want bool
	}{
		"nobody asks":               {Request{}, true},
		"unsigned":                  {Request{RealRoot: true, Wants: []Want{want("uid:0")}}, false},
		"root's own trust":          {Request{RealRoot: true, Verdict: granting, Wants: []Want{want("uid:0")}}, true},
		"trusted, but not root":     {Request{Verdict: granting, Wants: []Want{want("uid:0")}}, false},
		"integrity only":            {Request{RealRoot: true, Verdict: verify.Verdict{Signed: true, Trusted: true}, Wants: []Want{want("uid:0")}}, false},
		"PIDs by a file capability": {Request{FileCap: true, Wants: []Want{want("pid:here")}}, true},
		"and no more than that":     {Request{FileCap: true, Wants: []Want{want("pid:here"), want("cap:sys_admin")}}, false},
		"PIDs without":              {Request{Wants: []Want{want("pid:here")}}, false},
	} {
		d := (*Policy)(nil).Judge(c.r)
		if d.OK != c.want || (len(d.Refused()) == 0) != c.want {
			t.Errorf("%s: %+v", name, d)
		}
		for _, w := range d.Wants {
			if w.Granted == (w.By == "") || w.Granted == (w.Nearest != "") {
				t.Errorf("%s: it does not say who: %+v", name, w)
			}
		}
	}
}
