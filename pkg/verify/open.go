package verify

import (
	"errors"
	"fmt"
	"io"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/quote"
)

// Image is an image that passed Open. The zero Image is of no use: it has no
// manifest and gives no bytes.
type Image struct {
	r       *image.Reader
	m       *image.Manifest
	verdict Verdict
}

// Open verifies the image of size bytes in r by o. A file may change under us: what
// was verified is held in memory, and each chunk is verified when it is read.
// Errors wrap one of this package's or of package image's, or are r's.
func Open(r io.ReaderAt, size int64, o Options) (*Image, error) {
	c, err := Check(r, size, o)
	if err != nil {
		return nil, err
	}
	return c.Decode()
}

// Checked is an image whose signatures are right and whose manifest has not been
// decoded yet: where to give up privilege that no verdict can call for.
type Checked struct {
	r     *image.Reader
	o     Options
	sigs  []signature
	quote *quote.Quote // nil for none
	trust []trustFile
	// revoked is part of what a verdict needs, not of what it checks again.
	manifest Digest
}

// Check does what Open does up to the manifest, which stays opaque bytes.
func Check(r io.ReaderAt, size int64, o Options) (*Checked, error) {
	if o.Now.IsZero() {
		return nil, errors.New("verify: no time to judge by")
	}
	rd, err := image.Open(r, size)
	if err != nil {
		return nil, err
	}
	c := &Checked{r: rd, o: o, manifest: image.ManifestDigest(rd.ManifestBytes())}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("verify image: %w", err)
	}
	return c, nil
}

func (c *Checked) check() error {
	if c.o.Expect != nil && *c.o.Expect != c.manifest {
		return fmt.Errorf("%w: it is sha256:%x, not sha256:%x", ErrExpect, c.manifest, *c.o.Expect)
	}
	blobs, entry, err := separate(c.r.Signatures())
	if err != nil {
		return err
	}
	if c.sigs, err = checkSignatures(blobs, c.r.ManifestBytes()); err != nil {
		return err
	}
	if c.quote, err = checkQuote(entry, c.manifest); err != nil {
		return err
	}
	if err := c.checkRevoked(); err != nil {
		return err
	}
	c.trust, err = readTrust(c.o)
	return err
}

// Manifest is the digest of the manifest, by which people speak of an image.
func (c *Checked) Manifest() Digest { return c.manifest }

// MayGrant: some signature's key is listed where a verdict can grant. Where it is
// false no decoded manifest can make Verdict.Grants true.
func (c *Checked) MayGrant() bool {
	for _, s := range c.sigs {
		for _, f := range c.trust {
			if f.grants(c.o.Caller) && f.file.Lists(s.Key) {
				return true
			}
		}
	}
	return false
}

// Decode decodes the manifest and judges.
func (c *Checked) Decode() (*Image, error) {
	m, err := c.r.Decode()
	if err != nil {
		return nil, err
	}
	i := &Image{r: c.r, m: m}
	if i.verdict, err = c.judge(&m.Header); err != nil {
		return nil, fmt.Errorf("verify image: %w", err)
	}
	return i, nil
}

// Verdict is what Open found.
func (i *Image) Verdict() Verdict { return i.verdict }

// Manifest is the decoded manifest. It is the signer's claim; do not change it.
func (i *Image) Manifest() *image.Manifest { return i.m }

var errZero = errors.New("verify: image that was not opened")

// EachRun is [image.Reader.EachRun].
func (i *Image) EachRun(b image.Blob, workers int, fn func(p []byte, at []image.Extent) error) error {
	if i.r == nil {
		return errZero
	}
	return i.r.EachRun(b, workers, fn)
}

// EachChunk is [image.Reader.EachChunk].
func (i *Image) EachChunk(b image.Blob, workers int, fn func(off uint64, p []byte) error) error {
	if i.r == nil {
		return errZero
	}
	return i.r.EachChunk(b, workers, fn)
}

// ReadBlob is [image.Reader.ReadBlob].
func (i *Image) ReadBlob(b image.Blob, limit uint64) ([]byte, error) {
	if i.r == nil {
		return nil, errZero
	}
	return i.r.ReadBlob(b, limit)
}
