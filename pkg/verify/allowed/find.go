package allowed

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Find looks for the first line that lets q's key sign. Without one the error
// joins what stood against each line that names the key, or is ErrUnknown.
func (f *File) Find(q Query) (*Match, error) {
	var against error
	for _, line := range f.Lines {
		if !line.names(q.Key) {
			continue
		}
		name, err := line.allows(q)
		if err == nil {
			return &Match{Line: line, Principal: name}, nil
		}
		if err = fmt.Errorf("line %d: %w", line.Number, err); against == nil {
			against = err
		} else {
			against = fmt.Errorf("%w; %w", against, err)
		}
	}
	if against == nil {
		return nil, ErrUnknown
	}
	return nil, against
}

// names: the line is about key, or about the authority that certified it. A
// certificate is never matched by its inner key, as with ssh-keygen.
func (l *Line) names(key ssh.PublicKey) bool {
	cert, isCert := key.(*ssh.Certificate)
	if isCert != l.CertAuthority {
		return false
	}
	if isCert {
		key = cert.SignatureKey
	}
	return bytes.Equal(key.Marshal(), l.Key.Marshal())
}

// allows gives the principal that q's key signs as by this line.
func (l *Line) allows(q Query) (string, error) {
	name, err := l.principal(q)
	if err != nil {
		return "", err
	}
	if cert, ok := q.Key.(*ssh.Certificate); ok {
		if err := checkCert(cert, name, q.Times); err != nil {
			return "", err
		}
	}
	if err := l.purpose(q.Namespace); err != nil {
		return "", err
	}
	return name, l.validAt(q.Times)
}

func (l *Line) principal(q Query) (string, error) {
	if q.Principal != "" {
		if matchList(q.Principal, l.Principals) != matched {
			return "", fmt.Errorf("%w: %q is not in %q", ErrPrincipal, q.Principal, l.Principals)
		}
		return q.Principal, nil
	}
	names := plainNames(l.Principals)
	if !strings.Contains(l.Principals, "!") {
		// A line that has patterns only can still know a key by what it is, unless
		// it says who the key's owner may not be.
		names = append(names, ssh.FingerprintSHA256(q.Key))
	}
	if cert, ok := q.Key.(*ssh.Certificate); ok {
		names = cert.ValidPrincipals
	}
	for _, name := range names {
		if matchList(name, l.Principals) == matched {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: %q gives no single name, and the image claims none", ErrPrincipal, l.Principals)
}

func (l *Line) purpose(ns string) error {
	if !l.Pinned {
		// An authority certifies people for many purposes; that ours is among
		// them has to be said.
		if l.CertAuthority {
			return fmt.Errorf("%w: cert-authority without namespaces=", ErrNamespace)
		}
		return nil
	}
	if matchList(ns, l.Namespaces) != matched {
		return fmt.Errorf("%w: %q is not in %q", ErrNamespace, ns, l.Namespaces)
	}
	return nil
}

func (l *Line) validAt(times []time.Time) error {
	for _, t := range times {
		if !l.ValidAfter.IsZero() && t.Before(l.ValidAfter) {
			return fmt.Errorf("%w: at %s, before valid-after=%s", ErrTime, stamp(t), stamp(l.ValidAfter))
		}
		if !l.ValidBefore.IsZero() && t.Truncate(time.Second).After(l.ValidBefore) {
			return fmt.Errorf("%w: at %s, after valid-before=%s", ErrTime, stamp(t), stamp(l.ValidBefore))
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Lists: some line names key, or the authority of its certificate, whatever else
// it says.
func (f *File) Lists(key ssh.PublicKey) bool {
	return slices.ContainsFunc(f.Lines, func(l Line) bool { return l.names(key) })
}
