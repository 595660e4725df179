package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const keygenUsage = `usage: ckpt keygen [options]

Makes an ed25519 key pair in OpenSSH's format, or with --tpm one that never
leaves the TPM, and adds its public half to the user's own allowed_signers.
With --host it makes the key by which root signs for this host, and trusts it
in /etc/ckpt/allowed_signers. With --attestation-key it makes one by which the
TPM states how the machine booted, and prints the line that a list for
rstr --attest=FILE needs.

`

// keygenOptions are the options of "ckpt keygen".
type keygenOptions struct {
	path, trust, name string
	encrypt, inTPM    bool
	attest, p384      bool
	host              bool
	tpm               string
	pcrs              []uint
}

func keygen(args []string, s *streams) error {
	p, err := places()
	if err != nil {
		return err
	}
	o := keygenOptions{path: p.Key(), trust: p.Trust()}
	if o.name, err = principal(); err != nil {
		return err
	}
	if err := o.parse(args, p, s); err != nil {
		return err
	}
	return o.run(s)
}

func (o *keygenOptions) parse(args []string, p sign.Places, s *streams) error {
	f := flagSet("ckpt keygen", s.out, keygenUsage)
	f.StringVarP(&o.path, "output", "o", o.path, "the private key `FILE`; the public half gets .pub")
	f.StringVar(&o.trust, "allowed-signers", o.trust, "add the key to `FILE`")
	f.StringVar(&o.name, "principal", o.name, "sign as `NAME`")
	f.BoolVar(&o.encrypt, "passphrase", false, "ask for a passphrase")
	f.StringVar(&o.tpm, "tpm", os.Getenv("CKPT_TPM"), "make the key in the TPM (ECDSA P-256): in the default one, or `WHERE`, a device, a unix socket or HOST:PORT")
	f.Lookup("tpm").NoOptDefVal = defaultKey
	auth := f.Bool("auth", false, "with --tpm: ask for a password, which the TPM will want")
	f.BoolVar(&o.p384, "p384", false, "with --tpm: on the curve P-384, where the TPM has it")
	pcrs := f.String("pcrs", "", "bind it to the present values of `PCRS` of the TPM, as 0,7; of an attestation key: print a line for these")
	f.BoolVar(&o.host, "host", false, "make root's key for ckpt --sign --class=host")
	f.BoolVar(&o.attest, "attestation-key", false, "make a key in the TPM for ckpt --attest")
	if err := parse(f, args, "no arguments", 0, 0); err != nil {
		return err
	}
	var err error
	if o.pcrs, err = pcrList(*pcrs); err != nil {
		return err
	}
	if o.tpm == defaultKey {
		o.tpm = os.Getenv("CKPT_TPM")
	}
	o.inTPM = f.Changed("tpm") && !o.attest
	o.encrypt = o.encrypt || *auth
	switch {
	case o.attest && o.host:
		return cli.Misuse("--attestation-key excludes --host")
	case o.attest && f.Changed("allowed-signers"):
		return cli.Misuse("an attestation key makes no signatures that a list of signers could trust")
	case len(o.pcrs) > 0 && !o.inTPM && !o.attest:
		return cli.Misuse("--pcrs is for a key in the TPM")
	case o.p384 && !o.inTPM, *auth && !o.inTPM && !o.attest:
		return cli.Misuse("--p384 and --auth are for a key in the TPM (--tpm)")
	}
	return o.defaults(p, f)
}

// defaults are what depends on the sort of key.
func (o *keygenOptions) defaults(p sign.Places, f *pflag.FlagSet) error {
	path := map[bool]string{true: p.TPMKey(), false: p.Key()}[o.inTPM]
	switch {
	case o.host:
		if _, err := parseClass(sshsig.Host.String()); err != nil {
			return err
		}
		path = map[bool]string{true: host.HostTPMKey, false: host.HostKey}[o.inTPM]
	case o.attest:
		path = p.AttestationKey()
	}
	if !f.Changed("output") {
		o.path = path
	}
	if o.host && !f.Changed("allowed-signers") {
		o.trust = host.SystemTrust
	}
	if o.attest && o.pcrs == nil {
		o.pcrs, _ = pcrList(bootPCRs)
	}
	if !o.host || f.Changed("principal") {
		return nil
	}
	var err error
	o.name, err = ownName()
	return err
}

func (o *keygenOptions) run(s *streams) error {
	secret, err := o.secret()
	if err != nil {
		return err
	}
	if o.attest {
		return o.keygenAttestation(secret, s)
	}
	generate := func() (ssh.PublicKey, error) { return sign.Keygen(o.path, o.name, secret) }
	if o.inTPM {
		generate = func() (ssh.PublicKey, error) {
			return sign.KeygenTPM(o.path, sign.TPMKeyOptions{TPM: o.tpm, P384: o.p384, PCRs: o.pcrs, Auth: secret,
				Comment: o.name, Passphrase: cli.Passphrase})
		}
	}
	classes := []sshsig.Class{sshsig.Self, sshsig.Operator}
	if o.host {
		classes = []sshsig.Class{sshsig.Host}
		// Everybody here may know whom root trusts; keys are closed by themselves.
		if err := host.MakeTrust(o.trust); err != nil {
			return err
		}
	}
	pub, err := generate()
	if err != nil {
		return occupied(err)
	}
	if _, err := sign.Authorize(o.trust, o.name, classes, pub); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s %s\n", sshsig.Fingerprint(pub), o.path)
	return err
}

// occupied helps where there is a key already, which is never written over.
func occupied(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return cli.WithHint(err, "ckpt keygen -o ANOTHER-FILE, and sign with --sign=ANOTHER-FILE")
	}
	return err
}

// secret asks for a passphrase twice, if one is wanted.
func (o *keygenOptions) secret() ([]byte, error) {
	if !o.encrypt {
		return nil, nil
	}
	first, err := cli.Passphrase("the new key")
	if err != nil {
		return nil, err
	}
	again, err := cli.Passphrase("the new key, again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, errors.New("the two passphrases differ")
	}
	return first, nil
}
