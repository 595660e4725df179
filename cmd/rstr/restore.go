package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

func restoreTree(args []string, in, out *os.File, s *cli.Speaker) (int, error) {
	var o options
	if err := o.parse(args, out, s); err != nil {
		return 0, err
	}
	start := time.Now()
	file, size, err := o.open(in)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	img, err := o.verified(file, size)
	if err != nil {
		return 0, err
	}
	caller, err := restore.FactsOfCaller()
	if err != nil {
		return 0, err
	}
	kernel, err := host.Kernel()
	if err != nil {
		return 0, err
	}
	v := img.Verdict()
	r, err := restore.Run(img, restore.Options{Table: kinds.All(), Caller: caller, Kernel: kernel,
		Granted: v.Grants && os.Getuid() == 0 && os.Geteuid() == 0})
	var after *restore.AfterError
	if err != nil && !errors.As(err, &after) {
		return 0, explain(err, &v)
	}
	if err != nil {
		s.Say("%v", err)
	}
	s.Detail("%d processes, %d threads, root %d, running after %v", r.Tasks, r.Threads, r.PID, time.Since(start).Round(10*time.Microsecond))
	if o.detach {
		return 0, nil
	}
	return o.follow(r.PID, s)
}

// open opens the image; one from a pipe is stored first, since its
// signature stands at its end.
func (o *options) open(in *os.File) (*os.File, int64, error) {
	file := in
	switch {
	case o.input != "" && o.input != "-":
		f, err := os.OpenFile(o.input, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, 0, err
		}
		file = f
	case o.inputFD != 0:
		file = os.NewFile(uintptr(o.inputFD), "input")
	}
	st, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if st.Mode().IsRegular() {
		return file, st.Size(), nil
	}
	if cli.IsTerminal(int(file.Fd())) {
		return nil, 0, cli.WithHint(&cli.UsageError{Text: "there is no image to read: standard input is a terminal"}, "rstr IMAGE")
	}
	return image.Spool(file, os.TempDir(), o.spool)
}

// verified verifies the image: nothing in it is decoded before its signatures
// are judged.
func (o *options) verified(file *os.File, size int64) (*verify.Image, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	own := host.OwnTrust(home, os.Getenv("XDG_CONFIG_HOME"))
	files := map[string]verify.Source{host.SystemTrust: verify.System, own: verify.Own}
	if o.insist && o.verify != ownTrust {
		files[o.verify] = verify.Extra
	}
	trust, err := host.TrustFiles(files)
	if err != nil {
		return nil, err
	}
	img, err := verify.Open(file, size, verify.Options{Trust: trust, RequireTrusted: o.insist, Caller: uint32(os.Getuid()), Now: time.Now(),
		Audience: audience()})
	return img, err
}

func audience() []string {
	if id := host.MachineID(); id != "" {
		return []string{id}
	}
	return nil
}

// explain adds what the user can do about it.
func explain(err error, v *verify.Verdict) error {
	var needs *restore.NeedsError
	var taken *restore.TakenError
	switch {
	case errors.As(err, &needs) && !v.Signed:
		return cli.WithHint(fmt.Errorf("%w\nthe image is not signed, so nothing beyond the caller's own rights is restored", err),
			"dump with ckpt --sign")
	case errors.As(err, &needs):
		for _, why := range v.Reasons {
			err = fmt.Errorf("%w\n%w", err, why)
		}
		return err
	case errors.As(err, &taken):
		return cli.WithHint(err, "wait until they are free, or end what uses them")
	}
	return err
}
