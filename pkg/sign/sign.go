package sign

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// What can be wrong with a key. Errors of Open and Sign wrap one of these, or are
// the file system's (fs.ErrNotExist: no such key), or the agent's.
var (
	// ErrKey: the file holds no private key of a type that can sign.
	ErrKey = errors.New("not a usable private key")
	// ErrPassphrase: the key is encrypted, and the passphrase wrong or not to be had.
	ErrPassphrase = errors.New("passphrase needed")
	// ErrExposed: others than its owner can read or write the key file.
	ErrExposed = errors.New("key file open to others")
	// ErrCertificate: the certificate is not for this key, or not valid now.
	ErrCertificate = errors.New("certificate not usable")
	// ErrAgent: there is no agent, or it does not have the key, or refuses.
	ErrAgent = errors.New("ssh-agent")
)

// Options say how to sign and where the caller keeps keys.
type Options struct {
	// Class is what the signature will stand for; None is not allowed.
	Class sshsig.Class
	// Principal is the name to sign as; empty leaves it to the certificate, else
	// to the key's fingerprint. See Signer.Claim.
	Principal string
	// Places is where the caller's default key is.
	Places Places
	// Passphrase asks for the passphrase of the key that what describes; nil
	// where nobody can be asked. It is called up to three times.
	Passphrase func(what string) ([]byte, error)
	// TPM is a device, a unix socket or host:port; empty for DefaultTPM.
	TPM string
	// TPMs, if not nil, is shared by keys that are open at the same time.
	TPMs *TPMs
	// AgentSocket is the agent's unix socket ($SSH_AUTH_SOCK).
	AgentSocket string
	// Now is the time by which certificates are judged; zero for time.Now.
	Now time.Time
}

// Signer is an opened key, ready to sign without asking anybody further; an agent
// or a token may still want a confirmation of its own.
type Signer struct {
	key       ssh.Signer
	class     sshsig.Class
	principal string
	what      string
	closer    io.Closer
}

// Open opens the key that spec describes: the path of a private key file, of a
// public key (.pub) whose private half an agent holds, or of a certificate
// (-cert.pub) for either; agent[:COMMENT-or-FINGERPRINT]; or, empty, the caller's
// own key; or tpm[:KEYFILE]. Write ./agent for a file of that name.
func Open(spec string, o Options) (*Signer, error) {
	if o.Class == sshsig.None {
		return nil, errors.New("open signing key: no class to sign in")
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	s, err := open(spec, o)
	if err != nil {
		return nil, fmt.Errorf("open signing key: %w", err)
	}
	s.class = o.Class
	s.principal = o.Principal
	if err := s.check(o.Now); err != nil {
		return nil, errors.Join(fmt.Errorf("open signing key: %w", err), s.Close())
	}
	return s, nil
}

func open(spec string, o Options) (*Signer, error) {
	if wanted, ok := agentSpec(spec); ok {
		return openAgent(wanted, o)
	}
	if path, ok := tpmSpec(spec); ok {
		return openTPMKey(path, o)
	}
	if spec == "" {
		spec = o.Places.Key()
	}
	if strings.HasSuffix(spec, ".pub") {
		return openPublic(spec, o)
	}
	return openFile(spec, o)
}

// agentSpec splits agent[:WANTED].
func agentSpec(spec string) (wanted string, ok bool) {
	if spec == "agent" {
		return "", true
	}
	return strings.CutPrefix(spec, "agent:")
}

// check finds out before the dump what a verifier would refuse after it.
func (s *Signer) check(now time.Time) error {
	pub := s.key.PublicKey()
	if err := sshsig.CheckKey(pub); err != nil {
		return fmt.Errorf("%s: %w: %w", s.what, ErrKey, err)
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		return nil
	}
	if err := checkCertificate(cert, now); err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	if s.principal == "" && len(cert.ValidPrincipals) == 1 {
		s.principal = cert.ValidPrincipals[0]
	}
	return nil
}

// Sign returns the signature over manifest as a binary SSHSIG blob.
func (s *Signer) Sign(manifest []byte) ([]byte, error) {
	sig, err := sshsig.Sign(nil, s.key, s.class.Namespace(), manifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.what, err)
	}
	return sig.Marshal(), nil
}

// Close lets go of what Open opened, such as the connection to an agent.
func (s *Signer) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// Class is what the signature will stand for.
func (s *Signer) Class() sshsig.Class { return s.class }

// Claim belongs into the image's header as its signer: the principal where one is
// known, else the key's fingerprint. The image then is worth nothing without it.
func (s *Signer) Claim() string {
	if s.principal != "" {
		return s.principal
	}
	return s.Fingerprint()
}

// Fingerprint names the key as ssh-keygen -l does.
func (s *Signer) Fingerprint() string { return sshsig.Fingerprint(s.key.PublicKey()) }

// PublicKey is the key, or its certificate.
func (s *Signer) PublicKey() ssh.PublicKey { return s.key.PublicKey() }

// String says which key it is, for messages.
func (s *Signer) String() string { return s.what }
