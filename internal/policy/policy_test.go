package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/verify"
)

// people is a host with a few accounts.
type people struct{}

var accounts = []Subject{{UID: 0, Name: "root"}, {UID: 1000, GID: 1000, Name: "alice"}, {UID: 1005, GID: 1005, Name: "eve"},
	{UID: 1006, GID: 1006, Name: "mallory", Locked: true}, {UID: 700, GID: 700, Name: "webapp"}}

func (people) User(name string) (uint32, bool) {
	i := slices.IndexFunc(accounts, func(s Subject) bool { return s.Name == name })
	if i < 0 {
		return 0, false
	}
	return accounts[i].UID, true
}

func (people) Group(name string) (uint32, bool) {
	id, ok := map[string]uint32{"root": 0, "alice": 1000, "eve": 1005, "ops": 50, "webapp": 700, "disk": 6}[name]
	return id, ok
}

func (people) Account(uid uint32) (Subject, bool) {
	i := slices.IndexFunc(accounts, func(s Subject) bool { return s.UID == uid })
	if i < 0 {
		return Subject{}, false
	}
	return accounts[i], true
}

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const full = `
version = 1
[[restore]]
name = "full"
signers = ["ops@here"]
classes = ["operator"]
keys = ["ssh-ed25519"]
users = ["alice", "1007"]
groups = ["ops"]
hosts = ["here", "other"]
attested = true
max-age = "1h"
[restore.grant]
uids = ["root", "990 -> webapp", "1006", "4 -> 3"]
gids = ["990 -> webapp"]
groups = ["caller", "6"]
leave-groups = ["ops"]
caps = ["net_bind_service", "sys_time"]
loosen = ["seccomp"]
files = [{tree = "/srv", mode = "rw"}, {tree = "/etc/motd", mode = "r"}]
pids = ["here"]
limits = ["memlock"]
rlimits = ["nofile"]
namespaces = ["net"]
also = ["sched", "exe-link"]
`

// good is a request that the rule "full" applies to.
func good(wants ...Want) Request {
	now := time.Unix(2e9, 0)
	return Request{
		Verdict: verify.Verdict{Signed: true, Trusted: true, Class: verify.Operator, Signer: "ops@here", Algorithm: "ssh-ed25519", Grants: true,
			ForThisHost: true, When: now.Add(-time.Minute)},
		Host: "me", ThisHost: "me", Once: true, Attested: true, Caller: Subject{UID: 1000, GID: 1000, Name: "alice", Groups: []uint32{1000, 44}},
		Names: people{}, Held: ^credmap.Caps(0) &^ (1 << 25), Now: now, Wants: wants,
	}
}

func idWant(demand string, from, to uint32) Want {
	w := want(demand)
	switch d, _ := plan.ParseDemand(demand); d.Term {
	case "gid", "group+", "group-":
		w.GID = &Mapped{from, to}
	case "own":
		w.UID, w.GID = &Mapped{from, d.ID}, &Mapped{to, d.GID}
	default:
		w.UID = &Mapped{from, to}
	}
	return w
}

// Each demand, granted and one step beside.
func TestGrants(t *testing.T) {
	p := parse(t, full)
	for _, c := range []struct {
		w    Want
		host string
		want bool
	}{
		{w: idWant("uid:0", 0, 0), want: true},
		{w: idWant("uid:0", 0, 0), host: "other"}, // who is root there
		{w: idWant("uid:0", 1000, 0)},             // a map made it
		{w: want("uid:0")},                        // nobody says who it was
		{w: idWant("uid:0", 0, 5)},
		{w: idWant("uid:700", 990, 700), want: true},
		{w: idWant("uid:700", 990, 700), host: "other", want: true},
		{w: idWant("uid:700", 990, 700), host: "third"},
		{w: idWant("uid:700", 991, 700)}, {w: idWant("uid:701", 990, 701)}, {w: idWant("uid:990", 990, 990)},
		{w: idWant("uid:1006", 1006, 1006)}, // locked
		{w: idWant("uid:3", 4, 3)},          // no such account
		{w: idWant("open-as:0", 0, 0), want: true}, {w: idWant("open-as:5", 5, 5)},
		{w: idWant("gid:700", 990, 700), want: true}, {w: idWant("gid:700", 700, 700)}, {w: idWant("gid:6", 6, 6)},
		{w: idWant("group+6", 6, 6), want: true}, {w: idWant("group+6", 5, 6)}, {w: idWant("group+700", 990, 700)},
		{w: idWant("group+44", 44, 44), want: true}, {w: idWant("group+44", 43, 44)}, {w: idWant("group+44", 44, 44), host: "other"},
		{w: idWant("group-50", 50, 50), want: true}, {w: idWant("group-51", 51, 51)},
		{w: idWant("own:0:44", 0, 44), want: true}, {w: idWant("own:0:6", 0, 6), want: true}, {w: idWant("own:1000:700", 1000, 990), want: true},
		{w: idWant("own:1000:700", 1000, 700)}, {w: idWant("own:5:44", 5, 44)}, {w: idWant("own:0:45", 0, 45)}, {w: want("own:0:44")},
		{w: want("cap:net_bind_service"), want: true}, {w: want("cap:net_raw")}, {w: want("cap:77")},
		{w: want("cap:sys_time")}, // granted, and rstr lacks it
		{w: want("loosen:seccomp"), want: true}, {w: want("loosen:bset")},
		{w: want("root-dir")}, // no rule can say so
		{w: want("file:/srv:r"), want: true}, {w: want("file:/srv/a/b:rw"), want: true}, {w: want("file:/srvx:r")}, {w: want("file:/srv/../etc/shadow:r")},
		{w: want("file:/etc/motd:r"), want: true}, {w: want("file:/etc/motd:w")}, {w: want("file:/etc/motd/x:r"), want: true}, {w: want("file:inode 4:r")},
		{w: want("pid:here"), want: true}, {w: want("limit:memlock"), want: true}, {w: want("limit:pipe")},
		{w: want("rlimit:nofile"), want: true}, {w: want("rlimit:core")}, {w: want("ns:net"), want: true}, {w: want("ns:user")},
		{w: want("sched"), want: true}, {w: want("exe-link"), want: true}, {w: want("oom")}, {w: want("label")},
		{w: idWant("memory:/bin/x", 1000, 1000), want: true}, // a person vouches for it
		{w: idWant("memory:/bin/x", 5, 5), want: true},
		{w: idWant("memory:/bin/x", 5, 1000)}, {w: idWant("memory:/bin/x", 990, 700), host: "other", want: true},
		{w: idWant("memory:/bin/x", 1000, 1000), host: "other"}, {w: want("memory:/bin/x")},
		{w: want("what nobody knows")}, {w: want("")},
		{w: Want{Need: plan.Need{Demand: "label", Any: []string{"oom", "sched"}}}, want: true},
		{w: Want{Need: plan.Need{Demand: "label", Any: []string{"oom"}}}},
	} {
		r := good(c.w)
		if c.host != "" {
			r.Host = c.host
		}
		d := p.Judge(r)
		if d.OK != c.want || d.OK && d.Wants[0].By != "rule full" || !d.OK && d.Wants[0].Nearest == "" {
			t.Errorf("%s %v from host %q: %+v", c.w.Need.Demand, c.w.UID, c.host, d.Wants[0])
		}
	}
}

// Each condition of a rule, one step beside, refuses what is granted otherwise.
func TestConditions(t *testing.T) {
	p := parse(t, full)
	if d := p.Judge(good(want("sched"))); !d.OK {
		t.Fatalf("%+v", d)
	}
	for name, change := range map[string]func(*Request){
		"unsigned":           func(r *Request) { r.Verdict.Signed = false },
		"not trusted":        func(r *Request) { r.Verdict.Trusted = false },
		"grants nothing":     func(r *Request) { r.Verdict.Grants = false },
		"no audience":        func(r *Request) { r.Verdict.ForThisHost = false },
		"another signer":     func(r *Request) { r.Verdict.Signer = "ops@here.evil" },
		"another class":      func(r *Request) { r.Verdict.Class = verify.Host },
		"self":               func(r *Request) { r.Verdict.Class = verify.Self },
		"another key":        func(r *Request) { r.Verdict.Algorithm = "rsa-sha2-512" },
		"another caller":     func(r *Request) { r.Caller = accounts[2] },
		"nobody":             func(r *Request) { r.Caller.Name = "" },
		"locked":             func(r *Request) { r.Caller.Locked = true },
		"left the group":     func(r *Request) { r.Caller.Name, r.Caller.UID = "bob", 1001 },
		"another host":       func(r *Request) { r.Host = "third" },
		"hosts without name": func(r *Request) { r.Host, r.ThisHost = "", "" },
		"not attested":       func(r *Request) { r.Attested = false },
		"old":                func(r *Request) { r.Verdict.When = r.Now.Add(-time.Hour - 1) },
		"restored before":    func(r *Request) { r.Once = false },
		"renumbered":         func(r *Request) { r.Route = RouteNone },
		"one want too many":  func(r *Request) { r.Wants = append(r.Wants, want("oom")) },
	} {
		r := good(want("sched"))
		change(&r)
		if d := p.Judge(r); d.OK || slices.ContainsFunc(d.Wants, func(w Judged) bool { return w.Granted }) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	r := good(want("sched"))
	r.Caller = Subject{UID: 1001, Name: "bob", Groups: []uint32{50}}
	if !p.Judge(r).OK {
		t.Error("a member of ops is refused")
	}
	r.Caller = Subject{UID: 1007, Name: "carol"}
	if !p.Judge(r).OK {
		t.Error("user 1007 is refused")
	}
}

// Two rules do not add up, and the one that comes nearest is named.
func TestNoUnion(t *testing.T) {
	head := "signers = [\"*\"]\nclasses = [\"operator\"]\nusers = [\"*\"]\n"
	p := parse(t, "version = 1\n[[restore]]\nname = \"a\"\n"+head+"[restore.grant]\nalso = [\"sched\"]\n"+
		"[[restore]]\nname = \"b\"\n"+head+"[restore.grant]\nalso = [\"oom\"]\npids = [\"here\"]\n")
	d := p.Judge(good(want("sched"), want("oom"), want("pid:here")))
	if d.OK || d.Wants[0].Nearest != "rule b: it does not grant sched" || !strings.Contains(d.Wants[1].Nearest, "rule b would grant it") {
		t.Errorf("%+v", d)
	}
	own := want("sched")
	own.Own = true
	if d := p.Judge(good(own, want("oom"))); !d.OK || d.Wants[1].By != "rule b" {
		t.Errorf("what she has anyway is no want: %+v", d)
	}
}

// TestErrors: whoever misspells is told where, and nothing is granted by guess.
func TestErrors(t *testing.T) {
	rule := "version = 1\n[[restore]]\nname = \"a\"\nsigners = [\"x\"]\nclasses = [\"operator\"]\nusers = [\"y\"]\n"
	for text, want := range map[string]string{
		"":                                                 "version is 0",
		"version = 2":                                      "version is 2",
		"version = 1\nfoo = 1":                             `line 2: unknown key "foo"`,
		"version = 1\n[restore]":                           "restore rule 1: name",
		"version = 1\n[[restore]]":                         "restore rule 1: name",
		rule + "usres = [\"z\"]":                           `line 7: unknown key "restore.usres"`,
		rule + "[restore.grant]\nuid = []":                 `line 8: unknown key "restore.grant.uid"`,
		rule + "replay = \"yes\"":                          "line 7",
		rule + "max-age = \"soon\"":                        "line 7",
		rule + "max-age = \"-1h\"":                         "line 7",
		rule + rule[len("version = 1\n"):]:                 "two rules have the name a",
		rule + "users = []":                                "line 7",
		"version = 1\nversion = 1":                         "line 2",
		rule + "[restore.grant]\nuids = [\"0 -> 1 -> 2\"]": "line 8",
		rule + "[restore.grant]\nuids = [\"* -> root\"]":   "line 8",
		rule + "[restore.grant]\nuids = [\"1000+5 -> 0\"]\ngids = [\"\"]":    "line 9",
		rule + "[restore.grant]\nuids = [\"-1\"]":                            "line 8",
		rule + "[restore.grant]\nuids = [\"4294967295\"]":                    "line 8",
		rule + "[restore.grant]\ncaps = [\"CAP_CHOWN\"]":                     "line 8",
		rule + "[restore.grant]\ncaps = [\"all\"]":                           "line 8",
		rule + "[restore.grant]\nfiles = [{tree = \"srv\", mode=\"r\"}]":     "line 8",
		rule + "[restore.grant]\nfiles = [{tree = \"/srv/\", mode=\"r\"}]":   "line 8",
		rule + "[restore.grant]\nfiles = [{tree = \"/a/../b\", mode=\"r\"}]": "line 8",
		rule + "[restore.grant]\nfiles = [{tree = \"/a\", mode=\"wr\"}]":     "line 8",
		rule + "[restore.grant]\npids = [\"none\"]":                          "renumbered PIDs never",
		rule + "[restore.grant]\npids = [\"all\"]":                           "line 8",
		rule + "[restore.grant]\nalso = [\"everything\"]":                    "line 8",
		rule + "[restore.grant]\nalso = [\"root-dir\"]":                      "line 8",
		rule + "[restore.grant]\nloosen = [\"*\"]":                           "line 8",
		strings.Replace(rule, "\"operator\"", "\"self\"", 1):                 "line 5",
		strings.Replace(rule, "\"operator\"", "\"host\"", 1):                 "programs",
		strings.Replace(rule, "signers = [\"x\"]\n", "", 1):                  "signers",
		strings.Replace(rule, "classes = [\"operator\"]\n", "", 1):           "classes",
		strings.Replace(rule, "users = [\"y\"]\n", "", 1):                    "users or groups",
		strings.Replace(rule, "\"x\"", "\"\"", 1):                            "line 4",
		strings.Replace(rule, "name = \"a\"", "name = \"a b\"", 1):           "name",
		"version = 1\n[[dump]]\nname = \"d\"\nusers = [\"x\"]":               "of",
		"version = 1\n[[dump]]\nname = \"d\"\nusers = [\"x\"]\nof = [\"*\"]": "name the users",
	} {
		if p, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n%+v, %v; want %s", text, p, err, want)
		}
	}
}

func TestDumpRules(t *testing.T) {
	p := parse(t, "version = 1\n[[dump]]\nname = \"d\"\nusers = [\"alice\"]\nof = [\"webapp\", \"root\"]\nprograms = [\"/bin/w\"]\n")
	alice := accounts[1]
	for name, c := range map[string]struct {
		caller  Subject
		targets []Target
		want    bool
	}{
		"hers to dump":    {alice, []Target{{1, 700, "/bin/w"}, {2, 0, "/bin/w"}}, true},
		"another user's":  {alice, []Target{{1, 700, "/bin/w"}, {2, 1005, "/bin/w"}}, false},
		"another program": {alice, []Target{{1, 700, "/bin/w"}, {2, 700, "/bin/wx"}}, false},
		"another caller":  {accounts[2], []Target{{1, 700, "/bin/w"}}, false},
		"nobody":          {Subject{UID: 1000}, []Target{{1, 700, "/bin/w"}}, false},
		"locked":          {Subject{UID: 1000, Name: "alice", Locked: true}, []Target{{1, 700, "/bin/w"}}, false},
	} {
		by, why := p.MayDump(c.caller, c.targets, people{})
		if (by == p.Dump[0]) != c.want || (by != nil) != c.want || (why == "") != c.want {
			t.Errorf("%s: %q, %q", name, by, why)
		}
	}
	if by, why := (*Policy)(nil).MayDump(alice, nil, people{}); by != nil || why == "" {
		t.Error("no policy grants", by)
	}
}

// What the programs had read must be what it was: all that the image names, and the image must name all that the rule does.
func TestInputs(t *testing.T) {
	rule := func(more string) *Policy {
		return parse(t, "version = 1\n[[restore]]\nname = \"r\"\nsigners = [\"ops@here\"]\nclasses = [\"operator\"]\nusers = [\"alice\"]\nreplay = true\n"+more+
			"[restore.grant]\npids = [\"here\"]\n")
	}
	same, other := Input{"/etc/passwd", true}, Input{"/etc/sudoers", false}
	for name, c := range map[string]struct {
		rule   string
		inputs []Input
		why    string
	}{
		"none":                 {"", nil, ""},
		"the same":             {"", []Input{same}, ""},
		"another":              {"", []Input{same, other}, `"/etc/sudoers", which the program had read`},
		"the same, wanted":     {"inputs = [\"/etc/passwd\"]\n", []Input{same}, ""},
		"not named":            {"inputs = [\"/etc/passwd\", \"/etc/group\"]\n", []Input{same}, "does not say what /etc/group held"},
		"nothing at all named": {"inputs = [\"/etc/passwd\"]\n", nil, "does not say what /etc/passwd held"},
	} {
		r := Request{Verdict: granting, Caller: accounts[1], Names: people{}, Held: ^credmap.Caps(0), Inputs: c.inputs, Host: "h", ThisHost: "h", Wants: []Want{want("pid:here")}}
		r.Verdict.ForThisHost = true
		d := rule(c.rule).Judge(r)
		if d.OK != (c.why == "") || !d.OK && !strings.Contains(d.Wants[0].Nearest, c.why) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func examples(t *testing.T) map[string]*Policy {
	t.Helper()
	files, err := filepath.Glob("../../docs/policies/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	out := map[string]*Policy{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if out[filepath.Base(f)], err = Parse(text); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	return out
}

// TestEve: Eve has an account here, a host key or an operator whom every rule
// trusts has signed what she brings, and she may choose any map. Whatever the
// policy, she does not become somebody by it whom the rule does not bind, nor
// gets a privileged process that was another's, or another program.
func TestEve(t *testing.T) {
	const eve, alice = 1005, 1000
	for file, p := range examples(t) {
		for _, signer := range []string{"host@here", "eve@ops", "x@ops"} {
			for _, class := range []verify.Class{verify.Host, verify.Operator, verify.Self} {
				for _, host := range []string{"me", "other", "2f1a64c0e9a94f3f9d0bb7a26c1d7e55", ""} {
					for attack, wants := range map[string][]Want{
						"she makes herself root":         {idWant("uid:0", eve, 0)},
						"she makes herself alice":        {idWant("uid:1000", eve, alice)},
						"alice's process":                {idWant("uid:1000", alice, alice)},
						"alice's pausable is hers":       {idWant("uid:0", 0, 0), idWant("memory:/usr/local/bin/pausable", alice, eve)},
						"alice's pausable":               {idWant("uid:0", 0, 0), idWant("memory:/usr/local/bin/pausable", alice, alice)},
						"her own program as root":        {idWant("uid:0", 0, 0), idWant("memory:/home/eve/x", eve, eve)},
						"her group becomes disk":         {idWant("group+6", eve, 6)},
						"she gets disk":                  {idWant("group+6", 6, 6)},
						"capabilities of her own making": {want("cap:sys_admin"), idWant("memory:/home/eve/x", eve, eve)},
						"a shadow file":                  {want("file:/etc/shadow:r")},
						"a file of root's":               {idWant("own:0:0", eve, eve)},
						"nobody said who it was":         {want("uid:0"), want("memory:/usr/local/bin/pausable")},
					} {
						r := good(wants...)
						r.Verdict.Signer, r.Verdict.Class, r.Verdict.Algorithm = signer, class, "sk-ssh-ed25519@openssh.com"
						r.Host, r.Caller, r.Held = host, accounts[2], ^credmap.Caps(0)
						if d := p.Judge(r); d.OK {
							t.Errorf("%s, %s as %v of %q: %s is granted: %+v", file, signer, class, host, attack, d.Wants)
						}
					}
				}
			}
		}
	}
}

// The examples do what they say.
func TestExamples(t *testing.T) {
	all := examples(t)
	check := func(file string, r Request, ok bool) {
		t.Helper()
		if d := all[file].Judge(r); d.OK != ok {
			t.Errorf("%s: %+v", file, d.Wants)
		}
	}
	r := good(want("pid:here"), want("exe-link"))
	r.Verdict.Signer = "x@ops"
	check("pids.toml", r, true)
	check("nothing.toml", r, false)
	r = good(idWant("uid:0", 0, 0), idWant("memory:/usr/local/bin/pausable", 1005, 1005), want("cap:sys_admin"), want("pid:here"))
	r.Verdict.Signer, r.Verdict.Class, r.Caller, r.Held = "host@here", verify.Host, accounts[2], ^credmap.Caps(0)
	check("setuid.toml", r, false)
	r.Inputs = []Input{{"/etc/passwd", true}, {"/etc/group", true}}
	check("setuid.toml", r, true)
	r.Verdict.When = r.Now.Add(-11 * time.Minute)
	check("setuid.toml", r, false)
	r = good(idWant("uid:700", 990, 700), idWant("gid:700", 990, 700), idWant("group-1000", 1000, 1000), want("cap:net_bind_service"),
		idWant("memory:/usr/local/bin/webapp", 990, 700), want("file:/srv/webapp/db:rw"), idWant("own:700:700", 990, 990))
	r.Verdict.Signer, r.Verdict.Algorithm, r.Host = "x@ops", "sk-ssh-ed25519@openssh.com", "2f1a64c0e9a94f3f9d0bb7a26c1d7e55"
	check("service.toml", r, false)
	r.Caller.Groups = append(r.Caller.Groups, 50)
	check("service.toml", r, true)
	r.Host = "me"
	check("service.toml", r, true)
	r.Verdict.Algorithm = "ssh-ed25519"
	check("service.toml", r, false)
}

func TestLint(t *testing.T) {
	p := parse(t, `
version = 1
[[restore]]
name = "wide"
signers = ["*"]
classes = ["host"]
users = ["*"]
hosts = ["any"]
replay = true
programs = ["/"]
[restore.grant]
uids = ["1000 -> root"]
caps = ["sys_admin"]
files = [{tree = "/etc", mode = "rw"}]
loosen = ["seccomp"]
[[restore]]
name = "empty"
signers = ["a"]
classes = ["operator"]
users = ["b"]
max-age = "1h"
[[dump]]
name = "d"
users = ["*"]
of = ["root"]
`)
	var text []string
	for _, f := range p.Lint() {
		text = append(text, f.String())
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{"rule wide: every signer", "rule wide: everybody", "images of any host", "another host's key", "again and again",
		"however old", "makes root processes for everybody", "programs: /", "makes root of who is not root", "sys_admin can become root",
		"may write below /etc", "secrets", "confined (seccomp)", "rule empty: it grants nothing", "rule d: everybody", "root's processes may be dumped", "all programs"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not found in\n%s", want, all)
		}
	}
	if strings.Count(all, "rule empty") != 1 {
		t.Error(all)
	}
	if s := p.Explain(); !strings.Contains(s, "rule wide: everybody may restore images signed by * as host") || !strings.Contains(s, "with the users 1000 -> root") {
		t.Error(s)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		p, s string
		want bool
	}{{"*", "", true}, {"*@ops", "a@ops", true}, {"*@ops", "a@opsx", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"a*b*c", "aXbYc", true},
		{"a*b*c", "aXbY", false}, {"", "", true}, {"", "x", false}, {"a", "A", false}, {"[a]", "a", false}, {"**", "x", true}} {
		if glob(c.p, c.s) != c.want {
			t.Errorf("%q and %q", c.p, c.s)
		}
	}
}
