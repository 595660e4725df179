package main

import (
	"errors"
	"os"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

// restoreTree is all of rstr. The exit code counts where there is no error.
func restoreTree(args []string, s *streams) (int, error) {
	var o options
	if err := o.parse(args, s.out, s.speaker); err != nil {
		return 0, err
	}
	start := time.Now()
	r, img, err := o.build(s)
	if err != nil {
		return 0, o.explain(err, img)
	}
	took := time.Since(start)
	raw := img.Manifest().Totals.Raw
	s.speaker.Detail("%s, %s, %s of data, root %d, running after %s, %s", cli.Count(r.Tasks, "process"), cli.Count(r.Threads, "thread"),
		cli.Bytes(raw), r.PID, cli.Took(took), cli.Rate(raw, took))
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
	caller, err := restore.FactsOfCaller()
	if err != nil {
		return nil, img, err
	}
	kernel, err := host.Kernel()
	if err != nil {
		return nil, img, err
	}
	r, err := restore.Run(img, restore.Options{Table: kinds.All(), Caller: caller, Kernel: kernel,
		Granted: img.Verdict().Grants && os.Getuid() == 0 && os.Geteuid() == 0,
		Begin:   func() error { return consume(img, time.Now()) },
		Watch:   func(total uint64, done func() uint64) { progress.Watch("restored", total, done) }})
	progress.Stop()
	var after *restore.AfterError
	if errors.As(err, &after) {
		s.speaker.Say("%v", err)
		err = nil
	}
	return r, img, err
}
