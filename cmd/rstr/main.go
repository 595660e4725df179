// Command rstr builds a process tree again from an image that ckpt wrote.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/restore"
)

const usage = `usage: rstr [options] [IMAGE]

Verifies an image and builds its process tree again, at the same PIDs. The
image comes from the argument, from -i FILE or from standard input.

`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, in, out, errs *os.File) int {
	s := &cli.Speaker{Program: "rstr", To: errs}
	code, err := restoreTree(args, in, out, s)
	if errors.Is(err, pflag.ErrHelp) {
		return cli.OK
	}
	if err != nil {
		s.Error(err)
		return exitCode(err)
	}
	return code
}

func exitCode(err error) int {
	return cli.ExitCode(err, cli.As[*restore.NeedsError](cli.Refused), cli.As[*restore.TakenError](cli.HostDiffers),
		cli.As[*restore.HostError](cli.HostDiffers), cli.As[plan.Changed](cli.HostDiffers))
}

// options are those of a restore.
type options struct {
	input   string
	inputFD int
	verify  string
	insist  bool
	detach  bool
	wait    bool
	copy    bool
	show    bool
	verbose bool
	spool   int64
}

func (o *options) parse(args []string, out io.Writer, s *cli.Speaker) error {
	f := pflag.NewFlagSet("rstr", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.Usage = func() {
		fmt.Fprint(out, usage)
		fmt.Fprint(out, f.FlagUsages())
	}
	f.StringVarP(&o.input, "input", "i", "", "read the image from `FILE`")
	f.IntVar(&o.inputFD, "input-fd", 0, "read the image from descriptor `N`")
	f.StringVar(&o.verify, "verify", "", "insist on a trusted signature; with a `FILE` of allowed signers, on one that it trusts too")
	f.Lookup("verify").NoOptDefVal = ownTrust
	f.BoolVarP(&o.wait, "wait", "w", false, "stay the tree's parent until its root ends, passing signals on (the default)")
	f.BoolVarP(&o.detach, "detach", "W", false, "leave the tree to itself once it runs")
	f.BoolVar(&o.copy, "copy-status", false, "end as the tree's root ends")
	f.BoolVar(&o.show, "show-status", false, "say how the tree's root ended")
	f.Int64Var(&o.spool, "spool-limit", 1<<40, "store at most `BYTES` of an image that comes from a pipe")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what was done")
	err := f.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case err != nil:
		return &cli.UsageError{Text: err.Error()}
	case f.NArg() > 1 || f.NArg() == 1 && o.input != "":
		return cli.WithHint(&cli.UsageError{Text: "more than one image was named"}, "rstr --help")
	case o.detach && (o.wait || o.copy || o.show):
		return &cli.UsageError{Text: "--detach excludes --wait, --copy-status and --show-status"}
	}
	if f.NArg() == 1 {
		o.input = f.Arg(0)
	}
	o.insist = f.Changed("verify")
	s.Verbose = o.verbose
	return nil
}

// ownTrust stands for --verify without a file. No file has such a name.
const ownTrust = "\x00"
