package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/image"
)

// outputOptions say where an image goes.
type outputOptions struct {
	path    string // "", "-": a descriptor
	fd      int
	fdGiven bool
	force   bool
	opened  bool
}

func (o *outputOptions) add(f *pflag.FlagSet) {
	f.StringVarP(&o.path, "output", "o", "", "write the image to `FILE`, whole or not at all")
	f.IntVar(&o.fd, "output-fd", 1, "write the image to descriptor `N`")
	f.BoolVarP(&o.force, "force", "f", false, "replace an existing output file")
}

func (o *outputOptions) isFile() bool { return o.path != "" && o.path != "-" }

// check refuses, before anything is done, an output that can't be one. instead
// is the command line that would work on a terminal.
func (o *outputOptions) check(instead string) error {
	if o.isFile() {
		if o.fdGiven {
			return cli.Misuse("--output and --output-fd exclude each other")
		}
		return o.mayCreate()
	}
	if cli.IsTerminal(o.fd) {
		return cli.WithHint(cli.Misuse("an image is not for a terminal"), "%s", instead)
	}
	if _, err := kernelio.Fcntl(o.fd, unix.F_GETFD, 0); err != nil {
		return cli.Misuse("there is no descriptor %d to write to", o.fd)
	}
	return nil
}

// mayCreate refuses a name that is taken. Creating the file looks again.
func (o *outputOptions) mayCreate() error {
	st, err := os.Lstat(o.path)
	switch {
	case err != nil:
		return nil
	case !st.Mode().IsRegular():
		return cli.WithHint(fmt.Errorf("%s exists and is not a regular file", o.path), "use > %s instead of -o", o.path)
	case !o.force:
		return cli.WithHint(fmt.Errorf("%s exists already", o.path), "-f replaces it")
	}
	return nil
}

// open opens the output: a file that appears whole or not at all, or a
// descriptor.
func (o *outputOptions) open() (dump.Output, error) {
	o.opened = true
	if !o.isFile() {
		return fdOutput{os.NewFile(uintptr(o.fd), "standard output")}, nil
	}
	f, err := kernelio.CreateAtomic(o.path, o.force)
	if errors.Is(err, fs.ErrExist) {
		return nil, cli.WithHint(err, "-f replaces it")
	}
	if err != nil {
		return nil, err
	}
	return atomicOutput{f}, nil
}

// giveUp tells the reader of a pipe that there is no image and why. A file is
// not made at all.
func (o *outputOptions) giveUp(why error) {
	if o.isFile() || o.opened {
		return
	}
	out, err := o.open()
	if err != nil {
		return
	}
	defer out.Close()
	image.NewWriter(out, image.Options{}).Fail(why.Error())
}

type fdOutput struct{ *os.File }

// Commit brings to the disk what goes to one.
func (o fdOutput) Commit() error {
	st, err := o.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	return o.Sync()
}

type atomicOutput struct{ *kernelio.AtomicFile }

func (a atomicOutput) Close() error { return a.Abort() }
