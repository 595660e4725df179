package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// places says where the caller keeps keys.
func places() (sign.Places, error) {
	home, err := cli.Home()
	return sign.Places{Home: home, ConfigHome: os.Getenv("XDG_CONFIG_HOME")}, err
}

// principal is the name that a fresh key signs as: user@host, as ssh-keygen
// comments its keys.
func principal() (string, error) {
	name := fmt.Sprintf("uid%d", os.Getuid()) // of a user that the database does not know
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	return name + "@" + host, err
}

// open opens the keys, before anything is frozen: one may ask for a passphrase.
func (o *keyOptions) open(s *streams) (all []*sign.Signer, err error) {
	if len(o.keys) > 0 {
		// No core file, whatever handles it, and no debugger gets to see a key.
		if err := kernelio.SetDumpable(0); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, key := range o.keys {
		one, err := o.openSigner(key, s)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, one)
		if seen[one.Fingerprint()] {
			closeAll(all)
			return nil, cli.Misuse("the key %s is given twice", one.Fingerprint())
		}
		seen[one.Fingerprint()] = true
	}
	return all, nil
}

func closeAll(all []*sign.Signer) {
	for _, s := range all {
		s.Close()
	}
}

// signOptions are what all keys of one command are opened with.
func (o *keyOptions) signOptions() (sign.Options, error) {
	p, err := places()
	if o.tpms == nil {
		o.tpms = sign.NewTPMs()
	}
	return sign.Options{Class: sshsig.Operator, Principal: o.name, Places: p, TPM: o.tpm, TPMs: o.tpms,
		AgentSocket: os.Getenv("SSH_AUTH_SOCK"), Passphrase: cli.Passphrase}, err
}

// openSigner opens a key that an image is to be signed with. The image will
// claim the key itself unless a name was given: how others call its owner is
// theirs to say.
func (o *keyOptions) openSigner(spec string, s *streams) (*sign.Signer, error) {
	so, err := o.signOptions()
	if err != nil {
		return nil, err
	}
	if spec == defaultKey {
		spec = ""
		if err := makeDefault(so.Places, s); err != nil {
			return nil, err
		}
	}
	key, err := sign.Open(spec, so)
	if errors.Is(err, fs.ErrNotExist) && spec != "" {
		err = cli.WithHint(err, "ckpt keygen -o %s", spec)
	}
	return key, err
}

// makeDefault makes the caller's own key at its first use.
func makeDefault(p sign.Places, s *streams) error {
	name, err := principal()
	if err != nil {
		return err
	}
	made, err := sign.MakeDefault(p, name)
	if made {
		s.speaker.Say("made a key in %s and trusted it in %s", p.Key(), p.Trust())
	}
	return err
}

const keygenUsage = `usage: ckpt keygen [options]

Makes an ed25519 key pair in OpenSSH's format, or with --in-tpm one that never
leaves the TPM, and adds its public half to the user's own allowed_signers.
With --attestation-key it makes one by which the TPM states how the machine
booted, and prints the line that a list for rstr --attest=FILE needs.

`

// keygenOptions are the options of "ckpt keygen".
type keygenOptions struct {
	path, trust, name string
	encrypt, inTPM    bool
	attest, p384      bool
	tpm               string
	pcrs              []uint
}

func keygen(args []string, s *streams) error {
	p, err := places()
	if err != nil {
		return err
	}
	var o keygenOptions
	if o.name, err = principal(); err != nil {
		return err
	}
	f := flagSet("ckpt keygen", s.out, keygenUsage)
	f.StringVarP(&o.path, "output", "o", p.Key(), "the private key `FILE`; the public half gets .pub")
	f.StringVar(&o.trust, "allowed-signers", p.Trust(), "add the key to `FILE`")
	f.StringVar(&o.name, "principal", o.name, "sign as `NAME`")
	f.BoolVar(&o.encrypt, "passphrase", false, "ask for a passphrase (of a key in a TPM: a password)")
	f.BoolVar(&o.inTPM, "in-tpm", false, "make the key in the TPM (ECDSA P-256)")
	f.BoolVar(&o.p384, "p384", false, "with --in-tpm: on the curve P-384, where the TPM has it")
	pcrs := f.String("pcrs", "", "bind it to the present values of `PCRS` of the TPM, as 0,7; of an attestation key: print a line for these")
	f.BoolVar(&o.attest, "attestation-key", false, "make a key in the TPM for ckpt --attest")
	f.StringVar(&o.tpm, "tpm", os.Getenv("CKPT_TPM"), "the TPM: a device, a unix socket or `HOST:PORT`")
	if err := parse(f, args, "no arguments", 0, 0); err != nil {
		return err
	}
	if o.pcrs, err = pcrList(*pcrs); err != nil {
		return err
	}
	switch {
	case o.inTPM && o.attest:
		return cli.Misuse("--in-tpm and --attestation-key exclude each other")
	case o.attest && f.Changed("allowed-signers"):
		return cli.Misuse("an attestation key makes no signatures that a list of signers could trust")
	case len(o.pcrs) > 0 && !o.inTPM && !o.attest:
		return cli.Misuse("--pcrs is for a key in the TPM")
	case o.p384 && !o.inTPM:
		return cli.Misuse("--p384 is for a key --in-tpm")
	}
	o.defaults(p, f)
	return o.run(s)
}

func (o *keygenOptions) defaults(p sign.Places, f *pflag.FlagSet) {
	switch {
	case f.Changed("output"):
	case o.inTPM:
		o.path = p.TPMKey()
	case o.attest:
		o.path = p.AttestationKey()
	}
	if o.attest && o.pcrs == nil {
		o.pcrs, _ = pcrList(bootPCRs)
	}
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
	pub, err := generate()
	if err != nil {
		return occupied(err)
	}
	if _, err := sign.Authorize(o.trust, o.name, []sshsig.Class{sshsig.Self, sshsig.Operator}, pub); err != nil {
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
