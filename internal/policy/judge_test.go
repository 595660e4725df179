package policy

import (
	"testing"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
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
		c.r.Held = ^credmap.Caps(0)
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

// What rstr itself could not do, nobody grants it: the kernel would say no in
// the middle. Without any capability it can do what takes none.
func TestAble(t *testing.T) {
	for demand, capability := range map[string]string{"uid:7": "setuid", "gid:7": "setgid", "group+7": "setgid", "group-7": "setgid", "open-as:7": "setuid",
		"own:7:7": "chown", "cap:kill": "kill", "rlimit:core": "sys_resource", "oom": "sys_resource", "sched": "sys_nice", "ns:net": "sys_admin",
		"pid:here": "checkpoint_restore", "exe-link": "sys_admin", "map-files": "checkpoint_restore", "seccomp-no-nnp": "sys_admin", "root-dir": "sys_chroot", "file:/x:r": "dac_override"} {
		bit, _ := credmap.CapNamed(capability)
		r := Request{RealRoot: true, Verdict: granting, Held: 1 << bit, Wants: []Want{want(demand)}}
		if d := (*Policy)(nil).Judge(r); !d.OK {
			t.Errorf("%s with %s: %+v", demand, capability, d)
		}
		r.Held = ^(credmap.Caps(1) << bit) &^ map[string]credmap.Caps{"pid:here": 1 << 21, "map-files": 1 << 21, "exe-link": 1 << 40, "file:/x:r": 1<<2 | 1<<7}[demand]
		if d := (*Policy)(nil).Judge(r); d.OK {
			t.Errorf("%s without %s: %+v", demand, capability, d)
		}
	}
	if d := (*Policy)(nil).Judge(Request{RealRoot: true, Verdict: granting, Wants: []Want{want("uid:0"), want("memory:/x"), want("limit:pipe")}}); !d.OK {
		t.Errorf("%+v", d)
	}
}
