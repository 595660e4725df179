package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const certSuffix = "-cert.pub"

// openPublic opens the private half of a public key or certificate: the file
// beside it, else the agent's key.
func openPublic(path string, o Options) (*Signer, error) {
	pub, err := readPublic(path)
	if err != nil {
		return nil, err
	}
	s, err := openFile(privatePath(path), o)
	if errors.Is(err, fs.ErrNotExist) && o.AgentSocket != "" {
		return openAgent(string(pub.Marshal()), o)
	}
	if err != nil {
		return nil, err
	}
	s.what = fmt.Sprintf("key %q", path)
	return s, s.certify(pub)
}

func privatePath(path string) string {
	if base, ok := strings.CutSuffix(path, certSuffix); ok {
		return base
	}
	return strings.TrimSuffix(path, ".pub")
}

func readPublic(path string) (ssh.PublicKey, error) {
	text, err := readKeyFile(path, 0)
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: %w", path, ErrKey, err)
	}
	return pub, nil
}

// certify makes s sign with pub, which must be its key or a certificate for it.
func (s *Signer) certify(pub ssh.PublicKey) error {
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		if !bytes.Equal(pub.Marshal(), s.key.PublicKey().Marshal()) {
			return fmt.Errorf("%s: %w: the private key is another's", s.what, ErrKey)
		}
		return nil
	}
	// NewCertSigner refuses a certificate for another key.
	key, err := ssh.NewCertSigner(cert, s.key)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", s.what, ErrCertificate, err)
	}
	s.key = key
	return nil
}

// checkCertificate refuses what verifiers refuse of any certificate.
func checkCertificate(cert *ssh.Certificate, now time.Time) error {
	at := uint64(max(now.Unix(), 0))
	switch {
	case cert.CertType != ssh.UserCert:
		return fmt.Errorf("%w: not a user certificate", ErrCertificate)
	case len(cert.ValidPrincipals) == 0:
		return fmt.Errorf("%w: it names no principal", ErrCertificate)
	case len(cert.CriticalOptions) != 0:
		return fmt.Errorf("%w: it has critical options", ErrCertificate)
	case at < cert.ValidAfter:
		return fmt.Errorf("%w: not yet valid", ErrCertificate)
	case cert.ValidBefore != ssh.CertTimeInfinity && at >= cert.ValidBefore:
		return fmt.Errorf("%w: expired", ErrCertificate)
	}
	return nil
}

// isKey: pub is exactly the key or certificate with this wire format.
func isKey(pub ssh.PublicKey, wire string) bool { return string(pub.Marshal()) == wire }

// hasFingerprint: pub is the key, or a certificate for it, with this name.
func hasFingerprint(pub ssh.PublicKey, name string) bool { return sshsig.Fingerprint(pub) == name }
