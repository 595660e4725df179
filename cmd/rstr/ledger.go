package main

import (
	"os"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/verify"
)

// consume writes down that an image is being restored, if it asks to be
// restored once only or never after a later one of its lineage, and refuses
// it if that has happened. With --again that is written down instead.
func (o *options) consume(img *verify.Image, now time.Time, s *cli.Speaker) error {
	rule := img.Rule()
	if rule == (verify.Rule{}) {
		return nil
	}
	// Who acts as root answers to the system's ledger, whoever called.
	owner, dir := uint32(os.Geteuid()), host.SystemLedger
	if owner != 0 && !o.elevated {
		home, err := cli.Home()
		if err != nil {
			return err
		}
		dir = host.UserLedger(home, os.Getenv("XDG_STATE_HOME"))
	}
	if o.elevated {
		owner = 0
	}
	if o.elevated && o.repeat {
		return cli.Fail(cli.NotAllowed, "--again is not for a restore that gets more than its caller has")
	}
	e := img.Entry(o.who.caller.UID.Real, now)
	e.Override = o.repeat
	return consumeIn(dir, owner, e, rule, s)
}

func consumeIn(dir string, owner uint32, e verify.Entry, rule verify.Rule, s *cli.Speaker) error {
	l, err := host.OpenLedger(dir, owner)
	if err != nil {
		return err
	}
	defer l.Close()
	against := l.Ledger().Against(e, rule)
	if against != nil && !e.Override {
		return cli.WithHint(against, "rstr --again restores it all the same, and writes that down")
	}
	if err := l.Consume(e, rule); err != nil {
		return err
	}
	if against != nil {
		s.Say("%v; it is restored all the same, as --again says, and written down in %s", against, dir)
	}
	return nil
}

// remember lets an image of the restored tree stand in the lineage of the one
// that it came from.
func remember(pid int, img *verify.Image, s *cli.Speaker) {
	home, err := cli.Home()
	if err == nil {
		h := &img.Manifest().Header
		err = host.OwnLineages(home, os.Getenv("XDG_STATE_HOME")).Remember(pid,
			host.Lineage{ID: h.Lineage, Serial: h.Serial, Last: img.Verdict().Manifest})
	}
	if err != nil {
		s.Detail("an image of the restored tree will begin a new lineage: %v", err)
	}
}
