package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// places says where the caller keeps keys.
func places() (sign.Places, error) {
	home, err := cli.Home()
	return sign.Places{Home: home, ConfigHome: os.Getenv("XDG_CONFIG_HOME")}, err
}

// parseClass reads what signatures shall stand for. What the host says, only its
// real root may say for it: elsewhere nobody knows what credentials are worth.
func parseClass(name string) (sshsig.Class, error) {
	class, ok := sshsig.ClassNamed(name)
	if !ok || class == sshsig.None {
		return class, cli.Misuse("--class=%s: it is self, operator or host", name)
	}
	if class != sshsig.Host {
		return class, nil
	}
	initial, err := kernelio.InInitialUserNS()
	if err == nil && (!initial || os.Getuid() != 0 || os.Geteuid() != 0) {
		err = cli.Fail(cli.NotAllowed, "only root signs for the host, in the initial user namespace")
	}
	return class, err
}

// principal is the name that a fresh key signs as: user@host, as ssh-keygen
// comments its keys.
func principal() (string, error) {
	name := fmt.Sprintf("uid%d", os.Getuid()) // of a user that the database does not know
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	machine, err := os.Hostname()
	return name + "@" + machine, err
}

// open opens the keys, before anything is frozen: one may ask for a passphrase.
func (o *keyOptions) open(s *streams) (all []*sign.Signer, err error) {
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
	class := o.class
	if class == sshsig.None {
		class = sshsig.Operator
	}
	return sign.Options{Class: class, Principal: o.name, Places: p, TPM: o.tpm, TPMs: o.tpms,
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
	switch {
	case spec == defaultKey && so.Class == sshsig.Host:
		spec = host.HostKey
	case spec == defaultKey:
		spec = ""
		if err := makeDefault(so.Places, s); err != nil {
			return nil, err
		}
	}
	key, err := sign.Open(spec, so)
	switch {
	case errors.Is(err, fs.ErrNotExist) && spec == host.HostKey:
		err = cli.WithHint(err, "ckpt keygen --host")
	case errors.Is(err, fs.ErrNotExist) && spec != "":
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
