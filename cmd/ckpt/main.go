// Command ckpt writes a running process tree into a signed image.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/pkg/sign"
)

const usage = `usage: ckpt [options] PID            write PID and all below it into an image
       ckpt show [options] [IMAGE]   say what an image holds and who signed it
       ckpt sign [options] [IMAGE]   add a signature to an image
       ckpt keygen [options]         make a key pair and trust it for oneself
       ckpt check [options]          try out what you can do on this host

The image goes to standard output unless -o says otherwise. The tree runs on
unless --kill or --stop is given. "ckpt COMMAND --help" has the options of
each command.

`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// command is a use of the program.
type command func(args []string, io *streams) error

// streams are the standard streams and the voice of a command.
type streams struct {
	in, out, errs *os.File
	speaker       *cli.Speaker
	who           *standing
}

func commands() map[string]command {
	return map[string]command{"show": show, "sign": signImage, "keygen": keygen, "check": check}
}

func run(args []string, in, out, errs *os.File) int {
	cli.Brief()
	s := &streams{in: in, out: out, errs: errs, speaker: &cli.Speaker{Program: "ckpt", To: errs}}
	// A reader that went away is an error like any other, not our silent end.
	signal.Ignore(unix.SIGPIPE)
	do, dumps := command(dumpTree), true
	if len(args) > 0 {
		if c := commands()[args[0]]; c != nil {
			do, args, dumps = c, args[1:], false
		}
	}
	who, err := arrive()
	if err == nil && !dumps {
		err = who.drop()
	}
	if err == nil {
		s.who = who
		err = do(args, s)
	}
	if errors.Is(err, pflag.ErrHelp) {
		return cli.OK
	}
	if err != nil {
		s.speaker.Error(tpmAdvice(err))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	return cli.ExitCode(err, cli.As[*dump.Refused](cli.Unsupported), cli.As[*inject.TracedError](cli.NotAllowed),
		cli.Is(inject.ErrGone, cli.NoProcess), cli.Is(sign.ErrPassphrase, cli.NotAllowed), cli.Is(sign.ErrTPMAuth, cli.NotAllowed), cli.Is(sign.ErrTPMLockout, cli.NotAllowed), cli.Is(sign.ErrExposed, cli.NotAllowed))
}

// flagSet makes the options of one command, whose help goes to stdout.
func flagSet(name string, out io.Writer, text string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.Usage = func() {
		fmt.Fprint(out, text)
		fmt.Fprint(out, cli.Usages(f))
	}
	return f
}

// parse reads options and marks what is wrong with them as bad usage. It
// wants least to most operands.
func parse(f *pflag.FlagSet, args []string, operands string, least, most int) error {
	err := f.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if err != nil {
		return cli.WithHint(cli.Misuse("%w", err), "%s --help", f.Name())
	}
	if n := f.NArg(); n < least || n > most {
		return cli.WithHint(cli.Misuse("it takes %s, %s given", operands, were(n)), "%s --help", f.Name())
	}
	return nil
}

func were(n int) string {
	switch n {
	case 0:
		return "none was"
	case 1:
		return "one was"
	}
	return fmt.Sprintf("%d were", n)
}
