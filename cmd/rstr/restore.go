package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// restoreTree is all of rstr. The exit code counts where there is no error.
func restoreTree(args []string, s *streams, o *options) (int, error) {
	if err := o.parse(args, s.out, s.speaker); err != nil {
		return 0, err
	}
	start := time.Now()
	go func() { // in the order in which it is wanted
		sshsig.Prepare()
		restore.Prepare()
	}()
	b, err := o.build(s)
	switch {
	case err != nil:
		return 0, o.explain(err, b.img)
	case o.plan || b.failed != 0:
		return b.failed, nil
	}
	o.said(&b, time.Since(start), s.speaker)
	remember(b.PID, b.img, s.speaker)
	switch {
	case o.detach:
		return 0, nil
	case b.inner != nil:
		return o.accompany(&b, s.speaker)
	}
	return o.follow(b.PID, b.relay, s.speaker)
}

// built is what has come of an image.
type built struct {
	img *verify.Image // nil: it was not accepted
	restore.Restored
	relay  *relay // between the caller's terminal and the tree's; nil: it has hers, or none
	inner  *inner // builds it in another PID namespace
	within int    // the PID of the root there
	failed int    // the inner one has said why, and this is the exit code
}

// said tells those who want to know what was restored.
func (o *options) said(b *built, took time.Duration, s *cli.Speaker) {
	raw := b.img.Manifest().Totals.Raw
	root := fmt.Sprint(b.PID)
	if b.inner != nil {
		root += fmt.Sprintf(" (%d there)", b.within)
	}
	s.Detail("%s, %s, %s of data, root %s, running after %s, %s, PIDs: %s, reserved in %s", cli.Count(b.Tasks, "process"), cli.Count(b.Threads, "thread"),
		cli.Bytes(raw), root, cli.Took(took), cli.Rate(raw, took), b.Route, cli.Took(b.Reserving))
	if b.Route == restore.Renumbered {
		s.Detail("what programs have noted of their former PIDs themselves, in variables and files, stays as it was")
	}
	for i, tid := range b.Untold {
		if i == maxLines {
			s.Detail("and %d more", len(b.Untold)-i)
			break
		}
		s.Detail("thread %d: its C library keeps its former number where rstr does not know, if anywhere", tid)
	}
}

// build verifies the image and makes the tree run. Nothing of the image is
// held open when it returns.
func (o *options) build(s *streams) (built, error) {
	var b built
	progress := cli.NewProgress(s.errs, "rstr")
	defer progress.Stop()
	file, size, err := o.open(s, progress)
	if err != nil {
		return b, err
	}
	defer file.Close()
	if b.img, err = o.verified(file, size); err != nil {
		o.refused(b.img, err)
		return b, err
	}
	if o.plan {
		progress.Stop()
		return b, o.showPlan(b.img, file, size, s)
	}
	return b, o.take(&b, file, size, progress, s)
}

// take tries the routes to the tree's PIDs until one is there.
func (o *options) take(b *built, file *os.File, size int64, p *cli.Progress, s *streams) error {
	routes := o.routes()
	for i, route := range routes {
		o.route = route
		var err error
		if route == restore.Namespace && o.inside == nil {
			err = o.enter(b, file, size)
		} else {
			err = o.run(b, p, s)
		}
		if i+1 == len(routes) || !errors.Is(err, errNoNamespace) {
			return err
		}
		s.speaker.Detail("%v; instead: PIDs %v", err, routes[i+1])
	}
	return nil
}

// run makes the tree run, in this PID namespace.
func (o *options) run(b *built, p *cli.Progress, s *streams) error {
	ro, err := o.restoreOptions(b.img)
	if err != nil {
		return err
	}
	ro.Terminal = func() (err error) {
		p.Stop()
		b.relay, err = s.leaveTerminal(!o.detach && o.inside == nil)
		p = cli.NewProgress(s.errs, "rstr")
		return err
	}
	ro.Begin = func(d policy.Decision) error { return o.begin(b.img, d, s.speaker) }
	ro.Cycle = func(total int) func(int) { return o.cycling(total, p, s.speaker) }
	ro.Watch = func(total uint64, done func() uint64) { p.Watch("restored", total, done) }
	r, err := restore.Run(b.img, ro)
	p.Stop()
	if r == nil {
		if kept := o.takeBack(); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	o.refused(b.img, err)
	if o.elevated {
		if gone := o.drop(); gone != nil {
			return errors.Join(err, gone)
		}
	}
	if r != nil {
		b.Restored = *r
	}
	var after *restore.AfterError
	if errors.As(err, &after) {
		s.speaker.Say("%v", err)
		err = nil
	}
	return err
}

// routes are the ways to the tree's PIDs that come into question, in order.
func (o *options) routes() []restore.Route {
	switch {
	case o.route != restore.Auto:
		return []restore.Route{o.route}
	case restore.MayChoose(&o.caller) || o.who.pids || o.elevated:
		return []restore.Route{restore.Here}
	}
	return []restore.Route{restore.Namespace, restore.Renumbered}
}

// begin writes down what is about to happen, as far as somebody wants to know.
func (o *options) begin(img *verify.Image, d policy.Decision, s *cli.Speaker) error {
	return o.who.asRoot(func() error {
		if err := o.consume(img, time.Now(), s); err != nil {
			return err
		}
		if !o.elevated && !o.beyond(d) {
			return nil
		}
		return o.granted(img.Verdict(), d)
	})
}

// restoreOptions are the facts that a restore depends on.
func (o *options) restoreOptions(img *verify.Image) (restore.Options, error) {
	ro := restore.Options{Table: o.table, Caller: o.caller, Route: o.route, Inside: o.inside != nil, Detach: o.detach && o.inside == nil,
		Elevated: o.elevated}
	if o.who.pids && (o.route == restore.Here || o.route == restore.LastPID || o.inside != nil) {
		ro.Lent = forPIDs
	}
	if c := &ro.Caller; o.route == restore.Here && c.Caps.Permitted == credmap.Caps(forPIDs) && c.UID.Real != 0 {
		ro.Lent, c.Born.Caps = forPIDs, kind.CapSets{Bounding: c.Caps.Bounding} // her own, and given up in the same way
	}
	var err error
	made, here := img.Manifest().Header.Host, host.MachineID()
	if ro.Map, err = o.maps.of(&img.Manifest().Header, here); err != nil {
		return ro, err
	}
	ro.Here = made == here && made != ""
	if ro.Kernel, err = host.Kernel(); err != nil {
		return ro, err
	}
	ro.Plain = func() (kind.Caller, error) {
		o.elevated = false
		err := o.drop()
		return o.caller, err
	}
	var asked []policy.Want
	ro.Judge = func(wants []policy.Want) policy.Decision {
		asked = wants
		return o.judge(img, &ro, wants)
	}
	ro.Again = func() error {
		now, err := o.reverify()
		if err == nil {
			if d := o.judge(now, &ro, asked); !d.OK {
				err = &restore.NeedsError{Wants: d.Refused()}
			}
		}
		return err
	}
	return ro, nil
}

// judge decides on the authority that a tree needs.
func (o *options) judge(img *verify.Image, ro *restore.Options, wants []policy.Want) (d policy.Decision) {
	r := request(img, ro.Caller)
	r.Once = r.Once && !o.repeat // who overrides the ledger can't be granted what it is for
	r.FileCap, r.Route = o.who.pids, ro.Route.String()
	r.RealRoot = r.RealRoot && !o.who.lent
	switch {
	case o.blindly:
		return allOf(wants)
	case o.who.root && !r.Verdict.Grants:
		ownFiles(wants)
	}
	// Only root may know whether an account is locked, and may keep its policy to itself.
	err := o.who.asRoot(func() error {
		d = judged(r, img.Inputs(), wants)
		return nil
	})
	if err != nil {
		return (*policy.Policy)(nil).Judge(policy.Request{Wants: wants}).Because(err.Error())
	}
	return d
}

// ownFiles says that root could open all files, which who looked at them after
// root's rights were dropped could not.
func ownFiles(wants []policy.Want) {
	for i := range wants {
		if strings.HasPrefix(wants[i].Need.Demand, "file:") {
			wants[i].Own = true
		}
	}
}

// allOf grants everything, as root says.
func allOf(wants []policy.Want) policy.Decision {
	d := policy.Decision{OK: true}
	for _, w := range wants {
		d.Wants = append(d.Wants, policy.Judged{Want: w, Granted: true, By: "--trust-unsigned"})
	}
	return d
}
