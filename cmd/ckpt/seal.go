package main

import (
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
)

// seal is all that vouches for an image: keys that sign it, and a TPM that says
// how the machine booted.
type seal struct {
	signers  []*sign.Signer
	witness  *sign.Attestor // nil: nobody says
	manifest []byte         // that was sealed
}

// seal opens keys and TPM, before anything is frozen, and has the header claim
// what they will add.
func (o *dumpOptions) seal(h *image.Header, s *streams) (_ *seal, err error) {
	out := new(seal)
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	if len(o.keys.keys) > 0 || o.quote.list != nil {
		// No core file, whatever handles it, and no debugger gets to see a key.
		if err := kernelio.SetDumpable(0); err != nil {
			return nil, err
		}
	}
	so, err := o.keys.signOptions()
	if err != nil {
		return nil, err
	}
	if out.witness, err = o.quote.open(so, h); err != nil {
		return nil, err
	}
	if out.signers, err = o.keys.open(s); err != nil {
		return nil, err
	}
	if len(out.signers) > 0 {
		// The first key is the one that the image claims to be signed by.
		h.Signer, h.Class = out.signers[0].Claim(), out.signers[0].Class().String()
	}
	return out, nil
}

// sign makes the entries that stand behind a manifest.
func (l *seal) sign(manifest []byte) ([][]byte, error) {
	l.manifest = manifest
	sigs, err := sign.All(manifest, l.signers...)
	if err != nil || l.witness == nil {
		return sigs, err
	}
	quote, err := l.witness.Quote(manifest)
	if err != nil {
		return nil, err
	}
	return sign.Add(sigs, quote), nil
}

// Close lets go of the keys.
func (l *seal) Close() {
	closeAll(l.signers)
	if l.witness != nil {
		l.witness.Close()
	}
}
