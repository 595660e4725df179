package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify"
)

// attestOptions say what the TPM shall state beside the signatures.
type attestOptions struct {
	pcrs string // of the SHA-256 bank; "": nothing is stated
	key  string // file; "": the caller's own
	list []uint // pcrs, understood
}

// bootPCRs are what firmware and boot loader measure into (TCG PC Client Platform
// Firmware Profile, 3.3.4).
const bootPCRs = "0-7"

func (o *attestOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.pcrs, "attest", "", "have the TPM state how this machine booted: `PCRS`, as 0-7,14 (the default is "+bootPCRs+")")
	f.Lookup("attest").NoOptDefVal = bootPCRs
	f.StringVar(&o.key, "attestation-key", "", "with the key in `FILE`, that ckpt keygen --attestation-key made")
}

func (o *attestOptions) check() (err error) {
	if o.pcrs == "" && o.key != "" {
		return cli.Misuse("--attestation-key is for --attest")
	}
	o.list, err = pcrList(o.pcrs)
	return err
}

// pcrList reads numbers and ranges of them: 0-7,14.
func pcrList(text string) (out []uint, err error) {
	if text == "" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 8)
		to, err2 := strconv.ParseUint(last, 10, 8)
		if err1 != nil || err2 != nil || from > to || to > 23 {
			return nil, cli.Misuse("%q: PCRs are numbers from 0 to 23, as in 0-7,14", text)
		}
		for ; from <= to; from++ {
			out = append(out, uint(from))
		}
	}
	return out, nil
}

// open opens the attestation key, nil for none, and has the header say that its
// quote belongs to the image.
func (o *attestOptions) open(so sign.Options, h *image.Header) (*sign.Attestor, error) {
	if o.list == nil {
		return nil, nil
	}
	a, err := sign.OpenAttestor(o.key, o.list, so)
	if errors.Is(err, fs.ErrNotExist) {
		err = cli.WithHint(err, "ckpt keygen --attestation-key")
	}
	if err != nil {
		return nil, err
	}
	setOption(h, verify.OptionAttested, a.Fingerprint())
	return a, nil
}

// keygenAttestation makes an attestation key and prints the line that enrolls it.
func (o *keygenOptions) keygenAttestation(secret []byte, s *streams) error {
	so := sign.TPMKeyOptions{TPM: o.tpm, Attestation: true, Auth: secret, Comment: o.name, Passphrase: cli.Passphrase}
	if _, err := sign.KeygenTPM(o.path, so); err != nil {
		return occupied(err)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ask := cli.Passphrase
	if secret != nil {
		ask = func(string) ([]byte, error) { return append([]byte(nil), secret...), nil }
	}
	a, err := sign.OpenAttestor(o.path, o.pcrs, sign.Options{TPM: o.tpm, Passphrase: ask})
	if err != nil {
		return err
	}
	defer a.Close()
	line, err := a.Line(host)
	if err != nil {
		return err
	}
	s.speaker.Say("made %s; the line enrolls it, in the state that this machine is in, where rstr --attest=FILE looks for it", o.path)
	_, err = fmt.Fprint(s.out, line)
	return err
}
