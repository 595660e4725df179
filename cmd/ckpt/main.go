// Command ckpt writes a running process tree into a signed image.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/inject"
)

const usage = `usage: ckpt [options] PID           write PID and all below it into an image
       ckpt show [options] IMAGE    say what an image holds and who signed it
       ckpt keygen [options]        make a key pair and trust it for oneself

The image goes to standard output unless -o says otherwise. The tree runs on
unless --kill or --stop is given.

`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// command is a use of the program.
type command func(args []string, io *streams) error

// streams are the standard streams and the voice of a command.
type streams struct {
	in       *os.File
	out      *os.File
	speaker  *cli.Speaker
	progress io.Writer
}

func commands() map[string]command {
	return map[string]command{"show": show, "keygen": keygen}
}

func run(args []string, in, out, errs *os.File) int {
	s := &streams{in: in, out: out, speaker: &cli.Speaker{Program: "ckpt", To: errs}, progress: errs}
	do := command(dumpTree)
	if len(args) > 0 {
		if c := commands()[args[0]]; c != nil {
			do, args = c, args[1:]
		}
	}
	err := do(args, s)
	if errors.Is(err, pflag.ErrHelp) {
		return cli.OK
	}
	if err != nil {
		s.speaker.Error(err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	return cli.ExitCode(err, cli.As[*dump.Refused](cli.Unsupported), cli.Is(inject.ErrGone, cli.NoProcess))
}

// flagSet makes the options of one command, whose help goes to stdout.
func flagSet(name string, out io.Writer, text string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	f.Usage = func() {
		fmt.Fprint(out, text)
		fmt.Fprint(out, f.FlagUsages())
	}
	return f
}

// parse reads options and marks what is wrong with them as bad usage.
func parse(f *pflag.FlagSet, args []string, operands string, n int) error {
	err := f.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if err != nil {
		return &cli.UsageError{Text: err.Error()}
	}
	if f.NArg() != n {
		return cli.WithHint(&cli.UsageError{Text: fmt.Sprintf("it takes %s, %d arguments were given", operands, f.NArg())}, "%s --help", f.Name())
	}
	return nil
}
