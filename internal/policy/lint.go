package policy

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/pkg/verify"
)

// Finding is something in a policy that an administrator should think about.
type Finding struct{ Rule, Text string }

func (f Finding) String() string { return "rule " + f.Rule + ": " + f.Text }

// Lint looks for rules that give more than they seem to, or nothing.
func (p *Policy) Lint() []Finding {
	var l lint
	for _, r := range p.Restore {
		l.rule = r.Name
		l.who(r)
		l.what(r)
		l.grant(&r.Grant)
	}
	for _, r := range p.Dump {
		l.rule = r.Name
		l.addIf(slices.ContainsFunc(r.Users, who.all) || slices.ContainsFunc(r.Groups, who.all), "everybody on this host may call it")
		l.addIf(slices.ContainsFunc(r.Of, func(w who) bool { return w.is(0, rootOnly) }), "root's processes may be dumped: what their memory holds is disclosed")
		l.addIf(len(r.Programs) == 0, "it holds for all programs of these users (programs)")
	}
	return l.found
}

type lint struct {
	rule  string
	found []Finding
}

func (l *lint) addIf(cond bool, format string, a ...any) {
	if cond {
		l.found = append(l.found, Finding{l.rule, fmt.Sprintf(format, a...)})
	}
}

// rootOnly knows the one name that means the same everywhere.
func rootOnly(name string) (uint32, bool) { return 0, name == "root" }

func (l *lint) who(r *Rule) {
	l.addIf(slices.ContainsFunc(r.Signers, func(p pattern) bool { return p.matches("") }), "every signer counts that allowed_signers lists (signers)")
	l.addIf(slices.ContainsFunc(r.Users, who.all) || slices.ContainsFunc(r.Groups, who.all), "everybody on this host may call it")
	l.addIf(slices.Contains(r.Hosts, "any"), "images of any host count: what a user id means there, only that host's root knows (hosts)")
	l.addIf(slices.ContainsFunc(r.Hosts, func(h string) bool { return h != "here" }) && slices.ContainsFunc(r.Classes, func(c class) bool { return c.Class == verify.Host }),
		"it believes what another host's key says of credentials: that host's root can then have all that this rule grants")
}

func (l *lint) what(r *Rule) {
	l.addIf(r.Replay, "an image can be restored again and again, also with what was revoked since (replay)")
	l.addIf(r.MaxAge.Duration == 0, "images count however old they are (max-age)")
	if grantsRoot(&r.Grant) {
		l.addIf(len(r.Programs) == 0, "it makes root processes of any program (programs)")
		l.addIf(slices.ContainsFunc(r.Users, who.all), "it makes root processes for everybody")
	}
	for _, t := range r.Programs {
		l.addIf(t.path == "/", "programs: / is no program")
	}
}

func (l *lint) grant(g *Grant) {
	l.addIf(g.empty(), "it grants nothing")
	for _, b := range g.UIDs {
		l.addIf(!b.caller && b.to.is(0, rootOnly) && !b.from.is(0, rootOnly), "uids: %v makes root of who is not root in the image", b)
	}
	for _, c := range g.Caps {
		l.addIf(slices.Contains(almostRoot[:], c.name), "caps: who has %s can become root", c.name)
	}
	for _, f := range g.Files {
		l.addIf(f.Mode.s != "r" && (f.Tree.path == "/" || f.Tree.holds("/etc/passwd") || slices.Contains(systemTrees[:], f.Tree.path)),
			"files: who may write below %s can become root", f.Tree.path)
		l.addIf(f.Mode.s != "w" && f.Tree.holds("/etc/shadow"), "files: below %s are secrets that only root may read", f.Tree.path)
	}
	for _, w := range g.Loosen {
		l.addIf(true, "loosen: a program that was confined (%s) is not, afterwards", w.s)
	}
}

// systemTrees are directories of programs and their configuration.
var systemTrees = [...]string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/root", "/usr/bin", "/usr/sbin", "/usr/lib", "/var/spool/cron"}

// almostRoot are capabilities that lead to all others.
var almostRoot = [...]string{"chown", "dac_override", "dac_read_search", "fowner", "setuid", "setgid", "setpcap", "setfcap", "sys_module",
	"sys_rawio", "sys_ptrace", "sys_admin", "mknod", "mac_admin", "mac_override", "bpf", "sys_chroot", "linux_immutable"}

func grantsRoot(g *Grant) bool {
	return slices.ContainsFunc(g.UIDs, func(b binding) bool { return !b.caller && b.to.is(0, rootOnly) })
}

func (g *Grant) empty() bool {
	return len(g.UIDs)+len(g.GIDs)+len(g.Groups)+len(g.LeaveGroups)+len(g.Caps)+len(g.Loosen)+len(g.Files)+len(g.PIDs)+
		len(g.Limits)+len(g.RLimits)+len(g.Namespaces)+len(g.Also) == 0
}
