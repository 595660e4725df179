package verify

import (
	"fmt"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/quote"
)

// OptionAttested is the option by which an image says whose quote it carries: the
// attestation key's fingerprint. Without that quote the image is refused.
const OptionAttested = "attested-by"

// separate takes the quote out of an image's entries, which must be in ascending order
// all together. There may be one.
func separate(entries [][]byte) (sigs [][]byte, entry []byte, err error) {
	n := len(entries)
	if n > 0 && quote.Is(entries[n-1]) {
		sigs, entry = entries[:n-1], entries[n-1]
	} else {
		sigs = entries
	}
	for i, s := range sigs {
		if quote.Is(s) {
			return nil, nil, fmt.Errorf("signature %d: %w: a quote, which there may be one of, at the end", i+1, ErrOrder)
		}
	}
	return sigs, entry, nil
}

// checkQuote checks a quote by itself: it belongs to this manifest, and its own key
// signed it. A wrong one refuses the image as a wrong signature does.
func checkQuote(entry []byte, manifest Digest) (*quote.Quote, error) {
	if entry == nil {
		return nil, nil
	}
	q, err := quote.Parse(entry)
	if err == nil {
		err = q.Verify(manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return q, nil
}

// attested holds the quote against the header and the lists.
func (c *Checked) attested(h *image.Header, v *Verdict) error {
	if claim := h.Options[OptionAttested]; claim != "" && (c.quote == nil || c.quote.Fingerprint() != claim) {
		return fmt.Errorf("%w: the quote by %q", ErrStripped, claim)
	}
	for _, t := range c.o.Attest {
		name, err := c.attestedBy(t)
		switch {
		case err == nil && t.Source == System:
			v.Attested = name
		case err != nil && t.Source == Extra:
			return fmt.Errorf("%w: %w", ErrAttest, err)
		case err != nil && c.quote != nil:
			v.NotAttested = err
		}
	}
	return nil
}

// attestedBy asks one list. The error says why it does not believe the quote.
func (c *Checked) attestedBy(t TrustFile) (name string, err error) {
	if err := t.safe(c.o.Caller); err != nil {
		return "", fmt.Errorf("%q: %w: %w", t.Path, ErrTrustFile, err)
	}
	list, err := quote.ParseList(t.Bytes)
	if err != nil {
		return "", fmt.Errorf("%q: %w: %w", t.Path, ErrTrustFile, err)
	}
	if c.quote == nil {
		return "", fmt.Errorf("the image has no quote, and %q wants one", t.Path)
	}
	m, err := list.Find(c.quote)
	if err != nil {
		return "", fmt.Errorf("%q: %w", t.Path, err)
	}
	return m.Name, nil
}
