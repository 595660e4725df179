package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
)

// dumpTree is "ckpt PID".
func dumpTree(args []string, s *streams) error {
	var o dumpOptions
	if err := o.parse(args, s); err != nil {
		return err
	}
	if s.who.suid && !o.spools { // root's authority is for what a policy lets the caller dump, which she asks for by an option of its own
		if err := s.who.drop(); err != nil {
			return err
		}
	}
	start := time.Now()
	do := o.run
	if o.spools {
		do = o.spool
	}
	r, err := do(s)
	if err != nil {
		err = o.explain(err)
		if !o.spools {
			o.to.giveUp(err)
		}
		return err
	}
	for _, w := range r.Windows {
		s.speaker.Detail("%s", w)
	}
	sayUnreaped(r.Unreaped, s.speaker)
	took := time.Since(start)
	fate := "frozen " + cli.Took(r.Frozen)
	switch {
	case o.kill:
		fate = "killed"
	case o.stop:
		fate = "stopped"
	}
	s.speaker.Detail("%s, %s, %s in %s of image, %s, %s in all, %s", cli.Count(r.Tasks, "process"), cli.Count(r.Threads, "thread"),
		cli.Bytes(r.Raw), cli.Bytes(r.Stored), fate, cli.Took(took), cli.Rate(r.Raw, took))
	return nil
}

// sayUnreaped names one of those that each process has not waited for.
func sayUnreaped(all []dump.Unreaped, s *cli.Speaker) {
	more := map[int]int{}
	for _, u := range all {
		more[u.Parent]++
	}
	for _, u := range all {
		switch n := more[u.Parent]; {
		case n == 1:
			s.Say("process %d (%s) is dead, but its PID stays taken until %s waits for it", u.PID, u.Name, processName(u.Parent))
		case n > 1:
			s.Say("process %d (%s) and %d more are dead, but their PIDs stay taken until %s waits for them", u.PID, u.Name, n-1, processName(u.Parent))
		}
		more[u.Parent] = 0
	}
}

// run dumps the tree.
func (o *dumpOptions) run(s *streams) (*dump.Report, error) {
	head := sync.OnceValues(header)
	go func() {
		_, _ = head()
		if len(o.keys.keys) > 0 {
			sign.Prepare()
		}
	}()
	if err := mayDump(o.pid); err != nil {
		return nil, err
	}
	h, err := head()
	if err != nil {
		return nil, err
	}
	o.terms.terms(&h)
	if err := o.line.place(&h, o.pid, o.keys.tpm, s); err != nil {
		return nil, err
	}
	seal, err := o.seal(&h, s)
	if err != nil {
		return nil, err
	}
	defer seal.Close()
	d := dump.Options{PID: o.pid, Table: kinds.All(), After: o.after(), Codec: image.Options{Codec: o.codec}, Header: h, Lent: s.who.links,
		Sign: seal.sign}
	d.Output = func() (dump.Output, error) {
		if err := s.who.drop(); err != nil {
			return nil, err
		}
		return o.to.open()
	}
	progress := cli.NewProgress(s.errs, "ckpt")
	defer progress.Stop()
	d.Watch = func(total uint64, done func() uint64) { progress.Watch("copied", total, done) }
	d.Waiting = func(u dump.Unreaped) {
		progress.Stop()
		s.speaker.Say("waiting for %s to reap the dead process %d (%s), so that its PID is free", processName(u.Parent), u.PID, u.Name)
	}
	r, err := dump.Run(d)
	if err == nil && !o.kill {
		if err := remember(o.pid, &h, seal.manifest); err != nil {
			s.speaker.Detail("the next image of the tree will begin a new lineage: %v", err)
		}
	}
	return r, err
}

// explain says why a dump failed and what can be done about it.
func (o *dumpOptions) explain(err error) error {
	var refused *dump.Refused
	var traced *inject.TracedError
	switch {
	case errors.As(err, new(*dump.KilledError)):
		return err
	case errors.As(err, &refused):
		return unsupported(o.pid, refused)
	case errors.As(err, &traced):
		return tracedBy(traced.TID, traced.By)
	case errors.Is(err, inject.ErrGone):
		return cli.Fail(cli.NoProcess, "process %d ended while it was being frozen", o.pid)
	case errors.Is(err, inject.ErrDeadline):
		return cli.WithHint(fmt.Errorf("%w: a thread sits in the kernel, perhaps in a system call to a dead device or server", err),
			"ps -L -o tid,stat,wchan:20,comm %d", o.pid)
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return notAllowed(o.pid, err)
	}
	return err
}

// unsupported lists all that can't be saved, with each piece of advice once.
func unsupported(pid int, r *dump.Refused) error {
	lines := []string{fmt.Sprintf("%s can't be saved, because of %s:", processName(pid), cli.Count(len(r.Objects), "object"))}
	var hints []string
	for _, u := range r.Objects {
		lines = append(lines, "  "+cli.Printable(u.Error()))
		if u.Hint != "" && !slices.Contains(hints, u.Hint) {
			hints = append(hints, u.Hint)
		}
	}
	err := cli.Fail(cli.Unsupported, "%s", strings.Join(lines, "\n"))
	for _, h := range hints {
		err = cli.WithHint(err, "%s", h)
	}
	return err
}
