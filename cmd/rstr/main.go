// Command rstr builds a process tree again from an image that ckpt wrote.
package main

import (
	"errors"
	"os"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/spf13/pflag"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, kinds.All())) }

func run(args []string, in, out, errs *os.File, table kind.Table) int {
	cli.Brief()
	s := &streams{in: in, out: out, errs: errs, speaker: &cli.Speaker{Program: "rstr", To: errs}}
	code, err := start(args, s, table)
	if errors.Is(err, pflag.ErrHelp) {
		return cli.OK
	}
	if err != nil {
		s.speaker.Error(err)
		return exitCode(err)
	}
	return code
}

func start(args []string, s *streams, table kind.Table) (int, error) {
	if isInside(args) {
		return inhabit(args, s, table)
	}
	who, err := arrive()
	if err != nil {
		return 0, err
	}
	return restoreTree(args, s, &options{who: who, table: table})
}

// streams are the standard streams and the voice of the program.
type streams struct {
	in, out, errs *os.File
	speaker       *cli.Speaker
}

func exitCode(err error) int {
	return cli.ExitCode(err, cli.As[*restore.NeedsError](cli.Refused), cli.As[*restore.RenumberedError](cli.Refused),
		cli.As[*restore.TakenError](cli.HostDiffers), cli.As[*restore.HostError](cli.HostDiffers),
		cli.As[*restore.MapError](cli.HostDiffers), cli.Is(credmap.ErrClash, cli.Usage), cli.As[plan.Changed](cli.HostDiffers))
}
