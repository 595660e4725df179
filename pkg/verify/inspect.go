package verify

import (
	"fmt"
	"io"
	"time"

	"github.com/ckptool/ckpt/pkg/image"
)

// Report is what can be said of an image, be it acceptable or not. It gives no
// page data: it is for showing.
type Report struct {
	// Refusal is why Open would refuse the image, or nil.
	Refusal error
	// Verdict is empty but for Manifest where Refusal is about a signature.
	Verdict Verdict
	// Header is what the image says of itself, verified or not.
	Header image.Header
	// Manifest is decoded from what may be anybody's bytes.
	Manifest *image.Manifest
}

// Inspect reports on an image without insisting on anything. The error is about
// bytes that are no image, or about r.
func Inspect(r io.ReaderAt, size int64, o Options) (*Report, error) {
	i, refusal := Open(r, size, o)
	if refusal == nil {
		return &Report{Verdict: i.verdict, Header: i.m.Header, Manifest: i.m}, nil
	}
	rd, err := image.Open(r, size)
	if err != nil {
		return nil, err
	}
	m, err := rd.Decode()
	if err != nil {
		return nil, err
	}
	report := &Report{Refusal: refusal, Header: m.Header, Manifest: m}
	report.Verdict = Verdict{
		Signer: m.Header.Signer, When: time.Unix(m.Header.Created, 0), Manifest: image.ManifestDigest(rd.ManifestBytes()),
	}
	// Right signatures are worth showing whatever else stands against the image.
	o.Expect, o.RequireTrusted = nil, false
	if c, err := Check(r, size, o); err == nil {
		if v, err := c.verdict(&m.Header); err == nil {
			report.Verdict = v
		}
	}
	return report, nil
}

// CheckParent refuses an image that is not the parent which i's manifest names:
// both of one lineage, the parent earlier.
func (i *Image) CheckParent(parent *Image) error {
	child := &i.m.Header
	switch {
	case child.Parent == Digest{}:
		return fmt.Errorf("%w: the image names no parent", ErrParent)
	case child.Parent != parent.verdict.Manifest:
		return fmt.Errorf("%w: it is sha256:%x, not sha256:%x", ErrParent, parent.verdict.Manifest, child.Parent)
	case child.Lineage != parent.m.Header.Lineage:
		return fmt.Errorf("%w: another lineage", ErrParent)
	case child.Serial <= parent.m.Header.Serial:
		return fmt.Errorf("%w: serial %d is not after %d", ErrParent, child.Serial, parent.m.Header.Serial)
	}
	return nil
}
