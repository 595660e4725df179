package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

// open opens the image. What was standard input is /dev/null from then on:
// the tree may be given rstr's own, and the image is no input for it.
func (o *options) open(s *streams, p *cli.Progress) (*os.File, int64, error) {
	if o.inside != nil {
		return os.NewFile(insideImage, "image"), o.inside.facts.Size, nil
	}
	in := cli.Input{Path: o.input, In: s.in, Limit: o.spool, Progress: p, Instead: "rstr IMAGE"}
	if name, spooled := strings.CutPrefix(o.input, host.SpoolPrefix); spooled {
		return o.fromSpool(name)
	}
	switch {
	case o.input != "" && o.input != "-":
		return in.Open()
	case o.inputFD != 0:
		if _, err := kernelio.Fcntl(o.inputFD, unix.F_GETFD, 0); err != nil {
			return nil, 0, cli.Misuse("there is no descriptor %d to read from", o.inputFD)
		}
		in.In = os.NewFile(uintptr(o.inputFD), fmt.Sprintf("descriptor %d", o.inputFD))
		return in.Open()
	}
	own, err := kernelio.DupAbove(0, 3, "standard input")
	if err != nil {
		return nil, 0, err
	}
	in.In = os.NewFile(uintptr(own.Take()), "standard input")
	file, size, err := in.Open()
	if err != nil {
		return nil, 0, err
	}
	if file != in.In {
		in.In.Close()
	}
	return file, size, forgetInput()
}

// fromSpool opens an image that the caller had made and may not read.
func (o *options) fromSpool(name string) (file *os.File, size int64, err error) {
	e := o.who.asRoot(func() error {
		file, size, err = host.OpenSpooled(name, o.who.caller.UID.Real)
		return nil
	})
	return file, size, errors.Join(e, err)
}

// forgetInput puts /dev/null in the place of standard input.
func forgetInput() error {
	null, err := kernelio.OpenPath(os.DevNull, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer null.Close()
	return kernelio.Dup3(null.Int(), 0, 0)
}

// criteria are what the image must fulfil, and the facts of now to judge it by.
func (o *options) criteria() (verify.Options, error) {
	home, err := cli.Home()
	if err != nil {
		return verify.Options{}, err
	}
	trust, err := host.ReadTrust(home, os.Getenv("XDG_CONFIG_HOME"), o.trust)
	if err != nil {
		return verify.Options{}, err
	}
	vo, err := trust.Options(o.attest)
	vo.Unclaimed = o.blindly
	vo.RequireTrusted, vo.Expect, vo.Caller, vo.Now = o.insist, o.expect, o.who.caller.UID.Real, time.Now()
	return vo, err
}

// judgedAgain verifies the image once more, by what is true now. It must be the
// one that it was: its file is somebody's who could have changed it.
func (o *options) judgedAgain(file *os.File, size int64, same verify.Digest) (*verify.Image, error) {
	vo, err := o.criteria()
	if err != nil {
		return nil, err
	}
	vo.Expect = &same
	img, err := verify.Open(file, size, vo)
	if err == nil && !img.Verdict().Grants {
		err = verify.ErrNoGrant
	}
	return img, err
}

// verified verifies the image. Nothing in it is decoded with more authority
// than the caller's before its signatures are judged.
func (o *options) verified(file *os.File, size int64) (*verify.Image, error) {
	if o.inside != nil && o.inside.facts.UserNS { // from there root's files look like nobody's
		c, err := verify.Check(file, size, verify.Options{Expect: o.expect, Caller: o.who.caller.UID.Real, Now: time.Now(), Elsewhere: true})
		if err != nil {
			return nil, err
		}
		return o.decoded(c)
	}
	vo, err := o.criteria()
	if err != nil {
		return nil, err
	}
	parent, err := o.openParent()
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	c, err := verify.Check(file, size, vo)
	if err != nil {
		return nil, err
	}
	o.reverify = func() (*verify.Image, error) { return o.judgedAgain(file, size, c.Manifest()) }
	img, err := o.decoded(c)
	if err != nil || o.parent == "" {
		return img, err
	}
	return img, o.isChild(img, parent, vo)
}

// parentImage is the image that --parent names, if any.
type parentImage struct {
	*os.File
	size int64
}

// openParent opens it while the caller's rights are there, which the verdict
// about its child may take.
func (o *options) openParent() (p parentImage, err error) {
	if o.parent != "" {
		p.File, p.size, err = (&cli.Input{Path: o.parent}).Open()
	}
	return p, err
}

// isChild refuses an image that does not come right behind its parent. That one
// may have expired, or be for another host: only what it is counts.
func (o *options) isChild(img *verify.Image, p parentImage, vo verify.Options) error {
	vo = verify.Options{Trust: vo.Trust, Revoked: vo.Revoked, Zone: vo.Zone, Caller: vo.Caller, Now: vo.Now, Elsewhere: true}
	if d := verify.Digest(img.Manifest().Header.Parent); d != (verify.Digest{}) {
		vo.Expect = &d // another's manifest is not even decoded
	}
	parent, err := verify.Open(p, p.size, vo)
	if errors.Is(err, verify.ErrExpect) {
		err = fmt.Errorf("%w: %w", verify.ErrParent, err)
	}
	if err != nil {
		return fmt.Errorf("parent %s: %w", o.parent, err)
	}
	return img.CheckParent(parent)
}

// decoded decodes the manifest, and gives up before whatever no verdict about
// it can call for, and after it what this verdict does not. Root's rights are
// judged as they were before: what an image asks for beyond them is in the
// message.
func (o *options) decoded(c *verify.Checked) (*verify.Image, error) {
	var err error
	if o.caller, err = restore.FactsOfCaller(); err != nil {
		return nil, err
	}
	if !c.MayGrant() {
		if (o.who.root || o.who.suid) && !o.blindly {
			o.unprivileged(c.Manifest())
		}
		if err := o.drop(); err != nil {
			return nil, err
		}
	}
	img, err := c.Decode()
	if err != nil {
		return nil, err
	}
	if !img.Verdict().Grants || o.who.lent && !o.who.suid || o.who.suid && o.route != restore.Auto && o.route != restore.Here {
		return img, o.drop()
	}
	return img, o.elevate(img)
}

// drop gives up what was lent, or root's rights, unless root wants to use them
// without a verdict.
func (o *options) drop() error {
	if o.blindly {
		return nil
	}
	if err := o.who.drop(); err != nil || o.who.root {
		return err
	}
	var err error
	o.caller, err = restore.FactsOfCaller()
	if o.who.lent {
		o.caller.Caps = o.who.capabilities()
		o.caller.Born.Caps = o.caller.Caps
	}
	o.inside.groups(&o.caller)
	return err
}

// elevate prepares for a restore whose tasks are root's until they become what
// the policy grants. Of what was lent, only that stays which the signed header
// says can be needed: no record is decoded with more.
func (o *options) elevate(img *verify.Image) error {
	if !o.who.suid {
		return nil
	}
	if err := kernelio.Restrict(abi.CapSet(restore.Ceiling(img.Manifest().Header.Ceiling))); err != nil {
		return err
	}
	mode, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	if err == nil && strings.TrimSpace(string(mode)) == "1" {
		return cli.Fail(cli.NotAllowed, "fs.suid_dumpable is 1: whoever has the user of a process could read what is in it")
	}
	if err != nil {
		return err
	}
	o.elevated = true
	o.caller, err = o.who.rootborn()
	return err
}
