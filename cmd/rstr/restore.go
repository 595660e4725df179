package main

import (
	"errors"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

// restoreTree is all of rstr. The exit code counts where there is no error.
func restoreTree(args []string, s *streams, o *options) (int, error) {
	if err := o.parse(args, s.out, s.speaker); err != nil {
		return 0, err
	}
	start := time.Now()
	r, img, err := o.build(s)
	if err != nil {
		return 0, o.explain(err, img)
	}
	if o.plan {
		return 0, nil
	}
	took := time.Since(start)
	raw := img.Manifest().Totals.Raw
	s.speaker.Detail("%s, %s, %s of data, root %d, running after %s, %s, PIDs: %s", cli.Count(r.Tasks, "process"), cli.Count(r.Threads, "thread"),
		cli.Bytes(raw), r.PID, cli.Took(took), cli.Rate(raw, took), r.Route)
	if o.detach {
		return 0, nil
	}
	return o.follow(r.PID, s.speaker)
}

// build verifies the image and makes the tree run. Nothing of the image is
// held open when it returns.
func (o *options) build(s *streams) (*restore.Restored, *verify.Image, error) {
	progress := cli.NewProgress(s.errs, "rstr")
	defer progress.Stop()
	file, size, err := o.open(s, progress)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	img, err := o.verified(file, size)
	if err != nil {
		return nil, nil, err
	}
	ro, err := o.restoreOptions(img)
	if err != nil {
		return nil, img, err
	}
	if o.plan {
		progress.Stop()
		return nil, img, o.showPlan(img, ro, s)
	}
	ro.Begin = func(d policy.Decision) error { return o.begin(img, d, s.speaker) }
	ro.Watch = func(total uint64, done func() uint64) { progress.Watch("restored", total, done) }
	r, err := restore.Run(img, ro)
	progress.Stop()
	if r != nil {
		remember(r.PID, img, s.speaker)
	}
	var after *restore.AfterError
	if errors.As(err, &after) {
		s.speaker.Say("%v", err)
		err = nil
	}
	return r, img, err
}

// begin writes down what is about to happen, as far as somebody wants to know.
func (o *options) begin(img *verify.Image, d policy.Decision, s *cli.Speaker) error {
	if err := o.consume(img, time.Now(), s); err != nil {
		return err
	}
	if !o.blindly {
		return nil
	}
	return o.granted(img.Verdict(), d)
}

// restoreOptions are the facts that a restore depends on.
func (o *options) restoreOptions(img *verify.Image) (restore.Options, error) {
	ro := restore.Options{Table: o.table, Caller: o.caller, Route: o.route, Detach: o.detach}
	if o.who.pids {
		ro.Lent = forPIDs
	}
	var err error
	if ro.Map, err = o.maps.of(&img.Manifest().Header, host.MachineID()); err != nil {
		return ro, err
	}
	if ro.Kernel, err = host.Kernel(); err != nil {
		return ro, err
	}
	r := request(img, ro.Caller)
	r.FileCap = o.who.pids
	r.Route = ro.Route.String()
	ro.Judge = func(wants []policy.Want) policy.Decision {
		switch {
		case o.blindly:
			return allOf(wants)
		case o.who.root && !r.Verdict.Grants:
			ownFiles(wants)
		}
		return judged(r, wants)
	}
	return ro, nil
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
