package main

import (
	"errors"
	"fmt"
	"io/fs"
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
	rule := o.rule(img)
	if rule == (verify.Rule{}) {
		return nil
	}
	if o.elevated && o.repeat {
		return cli.Fail(cli.NotAllowed, "--again is not for a restore that gets more than its caller has")
	}
	dir, owner, err := o.ledgerPlace()
	if err != nil {
		return err
	}
	e := o.use(img, now)
	if err := consumeIn(dir, owner, e, rule, s); err != nil {
		return err
	}
	o.claimed = &claim{dir, owner, e}
	return nil
}

// claim is a restore that was written down before anything of it was made.
type claim struct {
	dir   string
	owner uint32
	entry verify.Entry
}

// takeBack writes down that the restore came to nothing, which is certain as
// long as it has not committed: none of the tree ever ran. So what was wrong
// with a host uses up no image. A rstr that is killed can't do so: that counts.
func (o *options) takeBack() error {
	c := o.claimed
	if c == nil {
		return nil
	}
	o.claimed = nil
	err := o.who.asRoot(func() error { return c.takeBack() })
	if err != nil {
		return fmt.Errorf("and the image counts as restored, though it was not: %w", err)
	}
	return nil
}

func (c *claim) takeBack() error {
	l, err := host.OpenLedger(c.dir, c.owner)
	if err != nil {
		return err
	}
	return errors.Join(l.TakeBack(c.entry), l.Close())
}

// foresee says what the ledger will have against a restore, and writes nothing.
func (o *options) foresee(img *verify.Image, now time.Time) error {
	rule := o.rule(img)
	if rule == (verify.Rule{}) {
		return nil
	}
	dir, owner, err := o.ledgerPlace()
	if err != nil {
		return err
	}
	l, err := host.PeekLedger(dir, owner)
	if errors.Is(err, fs.ErrPermission) {
		return nil // the system's is for root to read
	}
	if err != nil {
		return err
	}
	return l.Judge(o.use(img, now), rule)
}

// rule is what the image asks for, and the caller beside that.
func (o *options) rule(img *verify.Image) verify.Rule {
	r := img.Rule()
	return verify.Rule{Once: r.Once || o.once, NoRollback: r.NoRollback || o.noRollback}
}

func (o *options) use(img *verify.Image, now time.Time) verify.Entry {
	e := img.Entry(o.who.caller.UID.Real, now)
	e.Override = o.repeat
	return e
}

// ledgerPlace is the directory of the ledger that counts, and whose it must be.
// Who acts as root answers to the system's, whoever called.
func (o *options) ledgerPlace() (dir string, owner uint32, err error) {
	owner = uint32(os.Geteuid())
	if owner == 0 || o.elevated {
		return host.SystemLedger, 0, nil
	}
	home, err := cli.Home()
	return host.UserLedger(home, os.Getenv("XDG_STATE_HOME")), owner, err
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
