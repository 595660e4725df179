package main

import (
	"fmt"
	"os"
	"os/user"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// places says where the caller keeps keys.
func places() (sign.Places, error) {
	home, err := os.UserHomeDir()
	return sign.Places{Home: home, ConfigHome: os.Getenv("XDG_CONFIG_HOME")}, err
}

// principal is the name that a fresh key signs as: user@host, as ssh-keygen
// comments its keys.
func principal() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	host, err := os.Hostname()
	return u.Username + "@" + host, err
}

// openSigner opens the key that an image is to be signed with.
func openSigner(spec string, s *streams) (*sign.Signer, error) {
	p, err := places()
	if err != nil {
		return nil, err
	}
	name, err := principal()
	if err != nil {
		return nil, err
	}
	if spec == defaultKey {
		spec = ""
		made, err := sign.MakeDefault(p, name)
		if err != nil {
			return nil, err
		}
		if made {
			s.speaker.Say("made a key in %s and trusted it in %s", p.Key(), p.Trust())
		}
	}
	return sign.Open(spec, sign.Options{Class: sshsig.Operator, Principal: name, Places: p,
		AgentSocket: os.Getenv("SSH_AUTH_SOCK"), Passphrase: cli.Passphrase})
}

const keygenUsage = `usage: ckpt keygen [options]

Makes an ed25519 key pair in OpenSSH's format and adds its public half to the
user's own allowed_signers.

`

func keygen(args []string, s *streams) error {
	p, err := places()
	if err != nil {
		return err
	}
	name, err := principal()
	if err != nil {
		return err
	}
	f := flagSet("ckpt keygen", s.out, keygenUsage)
	path := f.StringP("output", "o", p.Key(), "the private key `FILE`; the public half gets .pub")
	trust := f.String("allowed-signers", p.Trust(), "add the key to `FILE`")
	f.StringVar(&name, "principal", name, "sign as `NAME`")
	if err := parse(f, args, "no arguments", 0); err != nil {
		return err
	}
	pub, err := sign.Keygen(*path, name, nil)
	if err != nil {
		return err
	}
	if _, err := sign.Authorize(*trust, name, []sshsig.Class{sshsig.Self, sshsig.Operator}, pub); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s %s\n", sshsig.Fingerprint(pub), *path)
	return nil
}
