package allowed

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// checkCert holds cert to the policy for signers: a user certificate that names
// its principals, this one among them, without critical options, valid at all
// times, and really signed by its authority. The last is checked here and not by
// the one who found the authority's line. It is stricter than ssh-keygen, which
// takes a certificate without principals for everybody's and ignores options.
func checkCert(cert *ssh.Certificate, principal string, times []time.Time) error {
	switch {
	case cert.CertType != ssh.UserCert:
		return fmt.Errorf("%w: not a user certificate", ErrCertificate)
	case !slices.Contains(cert.ValidPrincipals, principal):
		return fmt.Errorf("%w: certificate for %q, not %q", ErrPrincipal, cert.ValidPrincipals, principal)
	case cert.Signature == nil || cert.Signature.Format == ssh.KeyAlgoRSA:
		return fmt.Errorf("%w: signed with SHA-1", ErrCertificate)
	}
	for _, t := range times {
		if err := certValidAt(cert, t); err != nil {
			return err
		}
	}
	// The time was checked above; what is left to CheckCert is the signature, and
	// critical options, of which we support none.
	inside := ssh.CertChecker{Clock: func() time.Time { return within(cert, times) }}
	if err := inside.CheckCert(principal, cert); err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return nil
}

// certValidAt follows sshkey_cert_check_authority: after is inclusive, before is not.
func certValidAt(cert *ssh.Certificate, t time.Time) error {
	at := uint64(max(t.Unix(), 0))
	if at < cert.ValidAfter {
		return fmt.Errorf("%w: certificate not yet valid at %s", ErrTime, stamp(t))
	}
	if cert.ValidBefore != ssh.CertTimeInfinity && at >= cert.ValidBefore {
		return fmt.Errorf("%w: certificate expired at %s", ErrTime, stamp(t))
	}
	return nil
}

// within is a moment at which cert is valid.
func within(cert *ssh.Certificate, times []time.Time) time.Time {
	if len(times) > 0 {
		return times[0]
	}
	return time.Unix(int64(cert.ValidAfter), 0)
}
