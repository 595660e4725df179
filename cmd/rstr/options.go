package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

const usage = `usage: rstr [options] [IMAGE]

Verifies an image and builds its process tree again, at the same PIDs if it
can. The image comes from the argument, from -i FILE or from standard input. rstr stays
the parent of the tree's root, passes signals on to it, and ends when it ends.

`

// options are those of a restore, and who wants it.
type options struct {
	who      *standing
	table    kind.Table
	caller   kind.Caller
	elevated bool                          // a policy may grant what a set-id rstr was lent
	reverify func() (*verify.Image, error) // verifies the image once more
	input    string
	inputFD  int
	trust    string // a file that --verify named
	insist   bool
	expect   *verify.Digest
	parent   string // an image
	attest   string // a list of machines
	repeat   bool   // whatever the ledger says

	once, noRollback bool // though the image does not ask for it
	detach           bool
	copy             bool
	show             bool
	spool            int64
	route            restore.Route
	plan             bool // say what would be done, and do nothing
	json             bool
	maps             maps
	blindly          bool      // --trust-unsigned
	inside           *resident // this is the init of the tree's PID namespace
	claimed          *claim    // what the ledger says of the restore under way; nil: nothing
}

// ownTrust stands for --verify without a file. No file has such a name.
const ownTrust = "\x00"

// said are options as they were said, where that is not yet what they mean.
type said struct {
	expect, pids, log   string
	pidns, noPIDs, wait bool
}

func (o *options) flags(out io.Writer, s *cli.Speaker, raw *said) *pflag.FlagSet {
	f := pflag.NewFlagSet("rstr", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.Usage = func() {
		fmt.Fprint(out, usage)
		fmt.Fprint(out, cli.Usages(f))
	}
	f.StringVarP(&o.input, "input", "i", "", "read the image from `FILE`")
	f.IntVar(&o.inputFD, "input-fd", 0, "read the image from descriptor `N`")
	f.StringVar(&o.trust, "verify", "", "insist on a trusted signature; with a `FILE` of allowed signers, on one that it trusts too")
	f.Lookup("verify").NoOptDefVal = ownTrust
	f.StringVar(&raw.expect, "expect", "", "accept only the image whose manifest is `sha256:DIGEST`, as ckpt show prints it")
	f.StringArrayVar(&o.maps.uids, "uidmap", nil, "users `FROM:TO[:COUNT]` of the image, by ids or names; @FILE for a file of them; repeatable")
	f.StringArrayVar(&o.maps.gids, "gidmap", nil, "groups `FROM:TO[:COUNT]`, in the same way")
	f.StringVar(&o.maps.rest, "map-rest", "", "`identity`: what is not mapped stays as it is, though the image is of another host")
	f.StringVar(&o.parent, "parent", "", "accept only a child of the image in `FILE`, in the same lineage")
	f.StringVar(&o.attest, "attest", "", "insist on a TPM's statement that the machine of the dump booted as the list of machines in `FILE` says")
	f.BoolVar(&o.once, "once", false, "refuse an image that was restored here under such a rule before, and write this restore down")
	f.BoolVar(&o.noRollback, "no-rollback", false, "so with an image older than one of its lineage that was")
	f.BoolVar(&o.repeat, "again", false, "restore what was to be restored once, or an image older than one restored; it is written down")
	f.BoolVar(&o.blindly, "trust-unsigned", false, "as root: restore whatever the image asks for, whoever made it; this is written to the log")
	f.BoolVar(&o.plan, "plan", false, "say what would be done, by whose authority, and what would fail here; do nothing")
	f.BoolVar(&o.json, "json", false, "with --plan, say it in JSON")
	f.StringVar(&raw.pids, "pids", "", "give the tree its original PIDs, in this PID namespace; `HOW`: here (by right), last-pid, or cycle (until they come)")
	f.BoolVar(&raw.pidns, "pidns", false, "give the tree its original PIDs, in a new PID namespace")
	f.Lookup("pids").NoOptDefVal = restore.Here.String()
	f.BoolVar(&raw.noPIDs, "no-pids", false, "give the tree whatever PIDs are free; it takes no right")
	f.BoolVarP(&raw.wait, "wait", "w", false, "stay the parent of the tree until its root ends (the default)")
	f.BoolVarP(&o.detach, "detach", "W", false, "leave the tree to itself once it runs")
	f.BoolVar(&o.copy, "copy-status", false, "end as the tree's root ends")
	f.BoolVar(&o.show, "show-status", false, "say how the tree's root ended")
	f.Int64Var(&o.spool, "spool-limit", 1<<40, "store at most `BYTES` of an image that comes from a pipe")
	f.StringVarP(&raw.log, "logfile", "l", "", "append all messages to `FILE` as well")
	f.BoolVarP(&s.Verbose, "verbose", "v", false, "say what was done")
	return f
}

func (o *options) parse(args []string, out io.Writer, s *cli.Speaker) error {
	var raw said
	f := o.flags(out, s, &raw)
	err := f.Parse(args)
	o.insist = f.Changed("verify")
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case err != nil:
		err = cli.Misuse("%w", err)
	default:
		err = o.understand(f, &raw)
	}
	if err != nil {
		return cli.WithHint(err, "rstr --help")
	}
	if f.NArg() == 1 {
		o.input = f.Arg(0)
	}
	if o.route != restore.Auto && o.route != restore.Here && o.route != restore.LastPID && o.inside == nil {
		o.who.pids = false // no other route takes a right
	}
	if o.trust == ownTrust {
		o.trust = ""
	}
	for _, name := range []*string{&o.input, &o.trust, &o.parent, &o.attest, &raw.log} {
		*name = o.who.path(*name)
	}
	o.maps.each(o.who.path)
	if err := o.who.keep(o.inputFD); err != nil {
		return err
	}
	return s.LogTo(raw.log)
}

// understand refuses what makes no sense together, and takes the rest for what it means.
func (o *options) understand(f *pflag.FlagSet, raw *said) (err error) {
	switch {
	case f.NArg() > 1 || f.NArg()+btoi(f.Changed("input"))+btoi(f.Changed("input-fd")) > 1:
		return o.tooMany(f.Args())
	case o.detach && (raw.wait || o.copy || o.show):
		return cli.Misuse("--detach excludes --wait, --copy-status and --show-status")
	case o.blindly && o.insist:
		return cli.Misuse("--trust-unsigned excludes --verify")
	case o.blindly && (o.who.lent || !o.who.root || !o.who.caller.UID.All(0)):
		return cli.Fail(cli.NotAllowed, "--trust-unsigned is for root alone")
	case o.json && !o.plan:
		return cli.Misuse("--json goes with --plan")
	case btoi(raw.pids != "")+btoi(raw.pidns)+btoi(raw.noPIDs) > 1:
		return cli.Misuse("--pids, --pidns and --no-pids exclude each other")
	}
	if o.expect, err = digest(raw.expect); err != nil {
		return err
	}
	o.route, err = routeOf(raw.pids, raw.pidns, raw.noPIDs)
	return err
}

func (o *options) tooMany(args []string) error {
	err := cli.Misuse("more than one image was named")
	if o.insist && len(args) > 1 {
		err = cli.WithHint(err, "an option's value goes behind its =, as in: rstr --verify=%s %s", args[0], args[1])
	}
	return err
}

// routeOf reads the options about PIDs.
func routeOf(how string, namespace, renumber bool) (restore.Route, error) {
	switch {
	case namespace:
		return restore.Namespace, nil
	case renumber:
		return restore.Renumbered, nil
	case how == "":
		return restore.Auto, nil
	}
	for _, r := range []restore.Route{restore.Here, restore.LastPID, restore.Cycled} {
		if how == r.String() {
			return r, nil
		}
	}
	return restore.Auto, cli.Misuse("--pids=%s: it must be here, last-pid or cycle", how)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// digest reads the name of a manifest; nil for none.
func digest(s string) (*verify.Digest, error) {
	if s == "" {
		return nil, nil
	}
	text, ok := strings.CutPrefix(s, "sha256:")
	b, err := hex.DecodeString(text)
	d := new(verify.Digest)
	if !ok || err != nil || len(b) != len(d) {
		return nil, cli.Misuse("--expect=%s: it must be sha256: and %d hexadecimal digits", s, 2*len(d))
	}
	copy(d[:], b)
	return d, nil
}
