package main

import (
	"github.com/ckptool/ckpt/internal/cli"
)

const checkUsage = `usage: ckpt check [options]

Tries out what you can do on this host: what of it ckpt can dump and rstr
restore, by which route, what would take more and how to get that, and which
kernel features there are. Nothing is changed by it.

`

// check is "ckpt check". What is asked about by an option of its own has a file
// of its own.
func check(args []string, s *streams) error {
	f := flagSet("ckpt check", s.out, checkUsage)
	json := f.Bool("json", false, "print the answers as JSON")
	law := f.String("policy", "", "explain the policy of this host instead, or the one in `FILE`")
	f.Lookup("policy").NoOptDefVal = systemPolicy
	if err := parse(f, args, "no operands", 0, 0); err != nil {
		return err
	}
	if f.Changed("policy") {
		return explainPolicy(*law, s)
	}
	return tryHost(s, *json)
}

// written is an error of writing the answer, which is all that can go wrong
// once there is one.
func written(err error) error {
	if err != nil {
		return cli.Fail(cli.Failure, "standard output: %w", err)
	}
	return nil
}
