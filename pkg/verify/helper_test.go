package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const callerUID = 1000

func now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

// person is a signer in tests.
type person struct{ ssh.Signer }

func newPerson(t testing.TB) person {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return person{s}
}

func (p person) fingerprint() string { return sshsig.Fingerprint(p.PublicKey()) }

// line allows p to sign as principals, with options such as `namespaces="x" `.
func (p person) line(principals, options string) string {
	return principals + " " + options + string(ssh.MarshalAuthorizedKey(p.PublicKey()))
}

func (p person) sign(t testing.TB, namespace string, manifest []byte) []byte {
	t.Helper()
	s, err := sshsig.Sign(nil, p, namespace, manifest)
	if err != nil {
		t.Fatal(err)
	}
	return s.Marshal()
}

// certify gives p a certificate by ca, which change may change before it is signed.
func (p person) certify(t testing.TB, ca person, change func(*ssh.Certificate)) person {
	t.Helper()
	cert := &ssh.Certificate{
		Key: p.PublicKey(), CertType: ssh.UserCert, KeyId: "id", Serial: 7,
		ValidPrincipals: []string{"alice"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, p)
	if err != nil {
		t.Fatal(err)
	}
	return person{s}
}

// mark is one signature to put on a test image.
type mark struct {
	by    person
	class Class
}

// header is that of an image which claims nothing.
func header() image.Header {
	return image.Header{ID: [16]byte{1}, Class: "self", Created: now().Add(-time.Hour).Unix(), Lineage: [16]byte{2}}
}

// content is the one blob of a test image.
func content() []byte { return bytes.Repeat([]byte("content "), 100_000) }

func extents(b []byte) image.Extents { return image.Extents{{Off: 4096, Len: uint64(len(b))}} }

// at lets a reader find b at 4096.
type at struct{ *bytes.Reader }

func (a at) ReadAt(p []byte, off int64) (int, error) { return a.Reader.ReadAt(p, off-4096) }

// build writes an image with h, signed by marks, blobs in their proper order.
func build(t testing.TB, h image.Header, marks ...mark) []byte {
	t.Helper()
	return buildWith(t, h, func(manifest []byte) [][]byte {
		var blobs [][]byte
		for _, m := range marks {
			blobs = append(blobs, m.by.sign(t, m.class.Namespace(), manifest))
		}
		slices.SortFunc(blobs, bytes.Compare)
		return blobs
	})
}

func buildWith(t testing.TB, h image.Header, sign func([]byte) [][]byte) []byte {
	t.Helper()
	return buildFrom(t, h, content(), sign)
}

func buildFrom(t testing.TB, h image.Header, memory []byte, sign func([]byte) [][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	b := w.Start(at{bytes.NewReader(memory)}, extents(memory))
	if _, err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	m := &image.Manifest{Header: h, PIDs: image.PIDs{1}}
	if err := w.Close(m, func(manifest []byte) ([][]byte, error) { return sign(manifest), nil }); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// system, own and extra are trust files as they should be.
func system(text string) TrustFile {
	return TrustFile{Path: "/etc/ckpt/allowed_signers", Source: System, Bytes: []byte(text), Mode: 0o644}
}

func own(text string) TrustFile {
	return TrustFile{Path: "/home/u/allowed_signers", Source: Own, Bytes: []byte(text), OwnerUID: callerUID, Mode: 0o600}
}

func extra(text string) TrustFile {
	return TrustFile{Path: "extra", Source: Extra, Bytes: []byte(text), OwnerUID: callerUID, Mode: 0o600}
}

func options(trust ...TrustFile) Options { return Options{Trust: trust, Caller: callerUID, Now: now()} }

func open(b []byte, o Options) (*Image, error) { return Open(bytes.NewReader(b), int64(len(b)), o) }
