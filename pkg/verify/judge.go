package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// clockSkew is how far behind the signer's clock ours may be.
const clockSkew = 5 * time.Minute

// judge holds the header against the signatures, the trust files and the options.
func (c *Checked) judge(h *image.Header) (Verdict, error) {
	v, err := c.verdict(h)
	if err != nil {
		return v, err
	}
	if err := c.fresh(h); err != nil && !c.o.Elsewhere {
		return v, err
	}
	if err := c.attested(h, &v); err != nil {
		return v, err
	}
	if !c.mustTrust() || v.Trusted {
		return v, nil
	}
	if !v.Signed {
		return v, ErrUnsigned
	}
	return v, fmt.Errorf("signature by %s: %w", v.Key, join(v.Reasons))
}

func (c *Checked) mustTrust() bool {
	return c.o.RequireTrusted || slices.ContainsFunc(c.o.Trust, func(t TrustFile) bool { return t.Source == Extra })
}

// fresh refuses images that are too old, too new, or for another host.
func (c *Checked) fresh(h *image.Header) error {
	if created := time.Unix(h.Created, 0); created.After(c.o.Now.Add(clockSkew)) {
		return fmt.Errorf("%w: made at %s", ErrFuture, stamp(created))
	}
	if end := time.Unix(h.NotAfter, 0); h.NotAfter != 0 && c.o.Now.After(end) {
		return fmt.Errorf("%w at %s", ErrExpired, stamp(end))
	}
	if h.Audience != "" && !slices.Contains(c.o.Audience, h.Audience) {
		return fmt.Errorf("%w: for %q", ErrAudience, h.Audience)
	}
	return nil
}

// verdict finds the signature that counts and looks it up.
func (c *Checked) verdict(h *image.Header) (Verdict, error) {
	v := Verdict{
		Signer: h.Signer, When: time.Unix(h.Created, 0), Manifest: c.manifest,
		ForThisHost: h.Audience != "" && slices.Contains(c.o.Given, h.Audience), Quote: c.quote,
	}
	candidates, err := c.claimed(h)
	if err != nil || len(c.sigs) == 0 {
		return v, err
	}
	times := []time.Time{v.When, c.o.Now}
	best, found := candidates[0], finding{}
	for n, i := range candidates {
		f := lookUp(c.trust, c.sigs[i], principal(h), times)
		if n == 0 || f.match != nil {
			best, found = i, f
		}
		if f.match != nil {
			break
		}
	}
	v.fill(c.sigs[best], found)
	v.grant(found, c.o.Caller)
	for i, s := range c.sigs {
		if i != best {
			v.Others = append(v.Others, beside(s, lookUp(c.trust, s, "", times)))
		}
	}
	return v, nil
}

// claimed are the signatures, by index, that may be the one that the header claims
// for itself. A header that claims no signer, and no class above self, takes any
// signature that a person added later.
func (c *Checked) claimed(h *image.Header) ([]int, error) {
	class, ok := sshsig.ClassNamed(h.Class)
	if !ok {
		return nil, fmt.Errorf("%w: class %q", ErrNamespace, h.Class)
	}
	open := h.Signer == "" && class == Self || c.o.Unclaimed && len(c.sigs) == 0
	var fit []int
	for i, s := range c.sigs {
		if s.class == Host && class != Host {
			return nil, fmt.Errorf("%w: a host's signature on an image of class %s", ErrNamespace, class)
		}
		if open || s.class == class && (!isFingerprint(h.Signer) || sshsig.Fingerprint(s.Key) == h.Signer) {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 && !(open && len(c.sigs) == 0) {
		return nil, fmt.Errorf("%w: class %s by %q", ErrStripped, class, h.Signer)
	}
	return fit, nil
}

// isFingerprint: a header may claim a key, where it has no name for its owner.
func isFingerprint(signer string) bool { return strings.HasPrefix(signer, "SHA256:") }

// principal is the name that the header claims, empty where it claims a key.
func principal(h *image.Header) string {
	if isFingerprint(h.Signer) {
		return ""
	}
	return h.Signer
}

func (v *Verdict) fill(s signature, f finding) {
	d := s.describe()
	v.Signed, v.Class, v.Key, v.CA, v.Algorithm = true, d.Class, d.Key, d.CA, d.Algorithm
	if f.match == nil {
		v.Reasons = f.reasons
		return
	}
	v.Trusted, v.Signer, v.Source, v.Path = true, f.match.Principal, f.by.Source, f.by.Path
}

// grant says whether the trust that was found opens more than the caller has. A
// line must then say for which class: that it lists a key for git is no reason.
func (v *Verdict) grant(f finding, caller uint32) {
	if !v.Trusted {
		return
	}
	switch {
	case v.Class == Self:
		v.Reasons = append(v.Reasons, fmt.Errorf("%w: class self is integrity only", ErrNoGrant))
	case !f.by.grants(caller):
		v.Reasons = append(v.Reasons, fmt.Errorf("%w: only %s file %q trusts it", ErrNoGrant, f.by.Source, f.by.Path))
	case !f.match.Line.Pinned:
		v.Reasons = append(v.Reasons, fmt.Errorf("%w: line %d of %q has no namespaces=", ErrNoGrant, f.match.Line.Number, f.by.Path))
	default:
		v.Grants = true
	}
}

func beside(s signature, f finding) Signature {
	d := s.describe()
	if f.match == nil {
		d.Reasons = f.reasons
		return d
	}
	d.Trusted, d.Signer = true, f.match.Principal
	return d
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
