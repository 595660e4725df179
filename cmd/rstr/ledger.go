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
// it if that has happened.
func consume(img *verify.Image, now time.Time) error {
	rule := img.Rule()
	if rule == (verify.Rule{}) {
		return nil
	}
	uid := uint32(os.Getuid())
	dir := host.SystemLedger
	if uid != 0 {
		home, err := cli.Home()
		if err != nil {
			return err
		}
		dir = host.UserLedger(home, os.Getenv("XDG_STATE_HOME"))
	}
	return consumeIn(dir, img.Entry(uid, now), rule)
}

func consumeIn(dir string, e verify.Entry, rule verify.Rule) error {
	l, err := host.OpenLedger(dir, e.Caller)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Consume(e, rule)
}
