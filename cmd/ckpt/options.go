package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// dumpOptions are the options of a dump.
type dumpOptions struct {
	pid    int
	keys   keyOptions
	terms  termOptions
	line   lineageOptions
	quote  attestOptions
	spools bool
	kill   bool
	stop   bool
	to     outputOptions
	codec  image.Codec
}

// keyOptions say which keys sign.
type keyOptions struct {
	keys []string
	tpm  string
	name string // to sign as
	tpms *sign.TPMs

	class sshsig.Class // None: operator
}

// defaultKey stands for --sign without a key. No file has such a name.
const defaultKey = "\x00"

func (o *dumpOptions) parse(args []string, s *streams) error {
	f := flagSet("ckpt", s.out, usage)
	f.StringArrayVar(&o.keys.keys, "sign", nil, "sign the image with `KEY`: a key file, agent[:NAME] or tpm[:FILE]; alone: the user's own key, "+
		"made at first use; may be repeated")
	f.Lookup("sign").NoOptDefVal = defaultKey
	o.keys.add(f)
	class := f.String("class", sshsig.Operator.String(), "what signatures stand for: `CLASS` self (integrity), operator (a person vouches for the content) or "+
		"host (root's: the credentials at the dump)")
	o.terms.add(f)
	o.line.add(f)
	o.quote.add(f)
	f.BoolVar(&o.kill, "kill", false, "end the tree when its image is safe")
	f.BoolVar(&o.spools, "spool", false, "put the image of a tree that only a policy lets you dump where you can't read it, signed by this host")
	f.BoolVar(&o.stop, "stop", false, "leave the tree stopped (SIGSTOP)")
	o.to.add(f)
	compress := f.String("compress", "s2", "`CODEC`: s2, zstd (smaller, slower) or none")
	log := f.StringP("logfile", "l", "", "append all messages to `FILE` as well")
	f.BoolVarP(&s.speaker.Verbose, "verbose", "v", false, "say what was done")
	err := parse(f, args, "one PID", 1, 1)
	if err != nil {
		return misplaced(err, f)
	}
	o.to.fdGiven = f.Changed("output-fd")
	switch {
	case o.kill && o.stop:
		return cli.Misuse("--kill and --stop exclude each other")
	default:
		o.codec, err = image.ParseCodec(*compress)
	}
	if err != nil {
		return cli.Misuse("--compress=%s: %w", *compress, err)
	}
	if f.Changed("class") && len(o.keys.keys) == 0 {
		return cli.Misuse("--class is for --sign")
	}
	if o.keys.class, err = parseClass(*class); err != nil {
		return err
	}
	if o.spools {
		if err := o.forSpool(o.to.isFile() || o.to.fdGiven); err != nil {
			return err
		}
	}
	if err := o.terms.check(time.Now()); err != nil {
		return err
	}
	if err := errors.Join(o.line.check(), o.quote.check()); err != nil {
		return err
	}
	if o.pid, err = strconv.Atoi(f.Arg(0)); err != nil || o.pid <= 0 {
		return cli.WithHint(cli.Misuse("%q is neither a PID nor a command", f.Arg(0)), "ckpt --help")
	}
	if err := s.speaker.LogTo(*log); err != nil {
		return err
	}
	if o.spools {
		return nil
	}
	return o.to.check("ckpt -o FILE " + strconv.Itoa(o.pid))
}

// misplaced helps where the value of an option that may stand alone was not
// joined to it.
func misplaced(err error, f *pflag.FlagSet) error {
	for _, name := range []string{"sign", "for", "attest"} {
		fl := f.Lookup(name)
		if f.NArg() == 2 && fl.Changed && strings.Contains(fl.Value.String(), fl.NoOptDefVal) {
			return cli.WithHint(err, "an option's value goes behind its =, as in: ckpt --%s=%s %s", name, f.Arg(0), f.Arg(1))
		}
	}
	return err
}

func (o *keyOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.tpm, "tpm", os.Getenv("CKPT_TPM"), "the TPM: a device, a unix socket or `HOST:PORT`")
	f.StringVar(&o.name, "as", "", "say that `NAME` signed, as a list of signers calls the key; default: the certificate's one name, or the key's fingerprint")
}

func (o *dumpOptions) after() dump.After {
	switch {
	case o.kill:
		return dump.Kill
	case o.stop:
		return dump.Stop
	}
	return dump.Continue
}
