package verify

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ckptool/ckpt/pkg/image"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	alice := newPerson(t)
	h := header()
	h.Signer, h.Class = "alice", "operator"
	expired := h
	expired.NotAfter = 1
	trust := options(system(alice.line("alice", pinned)))
	strict := options()
	strict.RequireTrusted = true
	for name, c := range map[string]struct {
		b       []byte
		o       Options
		refusal error
		signed  bool
		grants  bool
	}{
		"good":     {build(t, h, mark{alice, Operator}), trust, nil, true, true},
		"unknown":  {build(t, h, mark{alice, Operator}), strict, ErrUnknownSigner, true, false},
		"expired":  {build(t, expired, mark{alice, Operator}), trust, ErrExpired, true, true},
		"stripped": {build(t, h), trust, ErrStripped, false, false},
		"wrong": {buildWith(t, h, func(m []byte) [][]byte { return [][]byte{alice.sign(t, Operator.Namespace(), m[1:])} }),
			trust, ErrSignature, false, false},
	} {
		r, err := Inspect(bytes.NewReader(c.b), int64(len(c.b)), c.o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !errors.Is(r.Refusal, c.refusal) || r.Verdict.Signed != c.signed || r.Verdict.Grants != c.grants {
			t.Errorf("%s: %v, %+v", name, r.Refusal, r.Verdict)
		}
		if r.Header.Signer != "alice" || r.Manifest == nil || r.Verdict.Manifest != manifestDigest(t, c.b) {
			t.Errorf("%s: says nothing of the image: %+v", name, r)
		}
	}
	if _, err := Inspect(bytes.NewReader(nil), 0, trust); !errors.Is(err, image.ErrTruncated) {
		t.Errorf("no image: %v", err)
	}
}
