package main

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// spoolFor is how long an image in the spool is good for, if nobody says how
// long.
const spoolFor = "7d"

// forSpool completes the options of a dump into the spool: what the policy
// allows there leaves no second copy of the state, is for this host alone, and
// not for ever.
func (o *dumpOptions) forSpool(to bool) error {
	switch {
	case !o.kill:
		return cli.Misuse("--spool is for --kill: of rights that a process has there is to be one copy")
	case to || len(o.keys.keys) > 0:
		return cli.Misuse("--spool says where the image goes, and that the host signs it")
	case o.terms.host != "" && o.terms.host != thisHost:
		return cli.Misuse("an image in the spool is for this host")
	}
	o.terms.host, o.terms.once = thisHost, true
	if o.terms.notAfter == "" && o.terms.validFor == "" {
		o.terms.validFor = spoolFor
	}
	return nil
}

// spool dumps a tree that the caller may not trace, where the policy lets her
// dump it. She never gets to read the image: it says what others' memory holds.
func (o *dumpOptions) spool(s *streams) (*dump.Report, error) {
	root, err := s.who.root()
	if err != nil {
		return nil, err
	}
	if !root && !s.who.suid {
		return nil, cli.Fail(cli.NotAllowed, "--spool is for root, and for a ckpt that is installed set-user-id root")
	}
	if err := mayDump(o.pid); err != nil {
		return nil, err
	}
	h, err := header() // by the caller, whom it names
	if err != nil {
		return nil, err
	}
	o.terms.terms(&h)
	if s.who.suid {
		if err := kernelio.Rise(); err != nil {
			return nil, err
		}
	}
	return o.spoolAs(s, h, root)
}

// spoolAs does so with root's authority.
func (o *dumpOptions) spoolAs(s *streams, h image.Header, root bool) (*dump.Report, error) {
	// Nobody's process is so much as stopped for who may not dump it.
	before, err := dump.Targets(o.pid)
	if err == nil {
		_, err = mayTake(s.who, before, root, h)
	}
	if err != nil {
		return nil, err
	}
	grant := func(all []dump.Target) error {
		rule, err := mayTake(s.who, all, root, h)
		if err != nil {
			return err
		}
		by := "root"
		if rule != nil {
			by = "rule " + rule.Name
			if err := inputs(rule, h.Options); err != nil {
				return err
			}
		}
		return dumped(s.who, all, h, by)
	}
	o.keys.keys, o.keys.class = []string{defaultKey}, sshsig.Host
	signers, err := o.keys.open(s)
	if err != nil {
		return nil, err
	}
	defer closeAll(signers)
	h.Signer, h.Class = signers[0].Claim(), signers[0].Class().String()
	name, path, err := host.Spooled(s.who.caller.UID.Real, h.ID)
	if err != nil {
		return nil, err
	}
	late := &lateSeal{path: path, signers: signers}
	o.to.path = late.unsigned()
	d := dump.Options{PID: o.pid, Table: kinds.All(), After: dump.Kill, Codec: image.Options{Codec: o.codec}, Header: h, Output: o.to.open, Judge: grant,
		Sign: late.note, Dead: late.sign}
	r, err := dump.Run(d)
	if err == nil {
		_, err = fmt.Fprintln(s.out, name)
	}
	return r, late.explain(err)
}

// mayTake judges a dump of threads that the caller may not trace. What has more
// rights than its user takes a rule that names the programs which may be
// paused: most programs that are set-user-id were never meant to be. Root takes
// no rule. A refusal is written down.
func mayTake(who *standing, all []dump.Target, root bool, h image.Header) (*policy.DumpRule, error) {
	if root {
		return nil, nil
	}
	p, err := host.ReadPolicy(host.SystemPolicy)
	if err != nil {
		return nil, err
	}
	people := &host.People{}
	rule, why := p.MayDump(people.Caller(who.caller.UID.Real, who.caller.GID.Real, who.caller.Groups), policyTargets(all), people)
	if rule != nil {
		why = unlisted(rule, all)
	}
	if why == "" {
		return rule, nil
	}
	e := entryOf(who, all, h)
	e.Result, e.Why = "refused", cli.Printable(why)
	e.refuse()
	return nil, cli.Fail(cli.Refused, "%s may not be dumped by you: %s", processName(all[0].PID), why)
}

func policyTargets(all []dump.Target) []policy.Target {
	var out []policy.Target
	for _, t := range all {
		out = append(out, policy.Target{PID: uint32(t.PID), UID: t.UID.Real, Program: t.Program})
	}
	return out
}

// unlisted wants programs in a rule by which threads with more rights than their
// user's are dumped.
func unlisted(rule *policy.DumpRule, all []dump.Target) string {
	if len(rule.Programs) > 0 {
		return ""
	}
	for _, t := range all {
		if t.UID.Real != 0 && (t.Caps != 0 || t.UID.Effective != t.UID.Real || t.UID.Saved != t.UID.Real || t.GID.Effective != t.GID.Real || t.GID.Saved != t.GID.Real) {
			return fmt.Sprintf("rule %s lists no programs, and process %d has more rights than its user", rule.Name, t.PID)
		}
	}
	return ""
}

// inputs has the image say what the files hold that the rule's programs read: if
// one is another at the restore, the programs know what is no longer so.
func inputs(rule *policy.DumpRule, options map[string]string) error {
	for _, path := range rule.Reads() {
		is, err := host.Input(path)
		if err != nil {
			return fmt.Errorf("rule %s: %w", rule.Name, err)
		}
		options[verify.InputOption+path] = is
	}
	return nil
}
