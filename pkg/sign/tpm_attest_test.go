package sign

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/ckptool/ckpt/pkg/verify/quote"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

func mustAttest(t *testing.T, path string, pcrs []uint, o Options) *Attestor {
	t.Helper()
	a, err := OpenAttestor(path, pcrs, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustQuote(t *testing.T, a *Attestor, manifest string) *quote.Quote {
	t.Helper()
	blob, err := a.Quote([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	q, err := quote.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// A quote is good for one image, one key and one state of the PCRs.
func TestQuote(t *testing.T) {
	t.Parallel()
	address, restart := startTPM(t)
	dir := t.TempDir()
	for _, name := range []string{"ak", "other"} {
		if _, err := KeygenTPM(filepath.Join(dir, name), TPMKeyOptions{TPM: address, Attestation: true}); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	o := Options{TPM: address, TPMs: NewTPMs()}
	a := mustAttest(t, filepath.Join(dir, "ak"), []uint{7, 0, 16, 7}, o)
	defer a.Close()
	line, err := a.Line("node1")
	if err != nil {
		t.Fatal(err)
	}
	list, err := quote.ParseList([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	q := mustQuote(t, a, "manifest")
	if q.Selection() != "sha256:0,7,16" {
		t.Errorf("it states %s", q.Selection())
	}
	if err := q.Verify(sha256.Sum256([]byte("manifest"))); err != nil {
		t.Error(err)
	}
	if err := q.Verify(sha256.Sum256([]byte("another"))); !errors.Is(err, quote.ErrForged) {
		t.Errorf("for another manifest: %v", err)
	}
	if m, err := list.Find(q); err != nil || m.Name != "node1" {
		t.Errorf("%v, %v", m, err)
	}
	once := func(name string, pcrs ...uint) *quote.Quote {
		other := mustAttest(t, filepath.Join(dir, name), pcrs, o)
		defer other.Close()
		return mustQuote(t, other, "manifest")
	}
	if _, err := list.Find(once("other", 0, 7, 16)); !errors.Is(err, quote.ErrUnknown) {
		t.Errorf("another key: %v", err)
	}
	if _, err := list.Find(once("ak", 0, 7)); !errors.Is(err, quote.ErrPCRs) {
		t.Errorf("other PCRs: %v", err)
	}
	extendBy(t, a.key.conn, 16)
	if _, err := list.Find(mustQuote(t, a, "manifest")); !errors.Is(err, quote.ErrPCRs) {
		t.Errorf("a changed PCR: %v", err)
	}
}

// A key is for signing or for attesting, never for both.
func TestPurposes(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	dir := t.TempDir()
	for name, o := range map[string]TPMKeyOptions{"ak": {Attestation: true, Auth: []byte("secret")}, "key": {}} {
		o.TPM = address
		if _, err := KeygenTPM(filepath.Join(dir, name), o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open("tpm:"+filepath.Join(dir, "ak"), Options{Class: sshsig.Self, TPM: address}); !errors.Is(err, ErrTPMKey) {
		t.Errorf("signing with an attestation key: %v", err)
	}
	if _, err := OpenAttestor(filepath.Join(dir, "key"), []uint{0}, Options{TPM: address}); !errors.Is(err, ErrTPMKey) {
		t.Errorf("attesting with a signing key: %v", err)
	}
	if _, err := OpenAttestor(filepath.Join(dir, "ak"), []uint{0}, Options{TPM: address}); !errors.Is(err, ErrPassphrase) {
		t.Errorf("nobody to ask: %v", err)
	}
	_ = mustAttest(t, filepath.Join(dir, "ak"), []uint{0}, Options{TPM: address, Passphrase: password("wrong", "secret")}).Close()
}

// Even the TPM refuses what looks like its own statement, to a key that could forge it.
func TestRestrictedKeySignsNoDigest(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	path := filepath.Join(t.TempDir(), "ak")
	if _, err := KeygenTPM(path, TPMKeyOptions{TPM: address, Attestation: true}); err != nil {
		t.Fatal(err)
	}
	a := mustAttest(t, path, []uint{0}, Options{TPM: address})
	defer a.Close()
	digest := sha256.Sum256([]byte("\xffTCG\x80\x18"))
	if _, err := a.key.Sign(nil, digest[:], a.key.hash()); !errors.Is(err, ErrTPM) {
		t.Errorf("it signed a digest of ours: %v", err)
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	address, restart := startTPM(t)
	o := Options{TPM: address}
	last := uint64(0)
	for i := range 6 {
		n, err := Count(DefaultCounter, o)
		if err != nil {
			t.Fatal(err)
		}
		if n <= last {
			t.Fatalf("%d after %d", n, last)
		}
		last = n
		if i == 2 {
			restart()
		}
		if i == 4 {
			deleteIndex(t, address, DefaultCounter)
		}
	}
	if other, err := Count(DefaultCounter+1, o); err != nil || other == 0 {
		t.Errorf("another counter: %d, %v", other, err)
	}
	if _, err := Count(DefaultCounter, Options{TPM: address + "-absent"}); !errors.Is(err, ErrTPMMissing) {
		t.Errorf("no TPM: %v", err)
	}
}

func deleteIndex(t *testing.T, address string, index uint32) {
	t.Helper()
	conn, err := dialTPM(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	nv, err := conn.counter(tpm2.TPMHandle(index))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.NVUndefineSpace{AuthHandle: conn.owner(), NVIndex: nv.named()}).Execute(conn); err != nil {
		t.Fatal(err)
	}
}

// An index that is no counter is left alone.
func TestCounterOfOthers(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	conn, err := dialTPM(address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVDefineSpace{AuthHandle: conn.owner(), PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: DefaultCounter, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{NT: tpm2.TPMNTOrdinary, AuthWrite: true, AuthRead: true, NoDA: true}})}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if n, err := Count(DefaultCounter, Options{TPM: address}); !errors.Is(err, ErrTPM) || !strings.Contains(err.Error(), "no counter") {
		t.Errorf("%d, %v", n, err)
	}
}

func TestCounterSpec(t *testing.T) {
	for spec, want := range map[string]uint32{"tpm": DefaultCounter, "tpm:0x01800001": 0x01800001, "": 0, "5": 0, "tpm:": 0, "tpm:7": 0, "tpm:0x81000001": 0, "tpm:0x01c00002": 0} {
		if n, ok := CounterSpec(spec); ok != (want != 0) || ok && n != want {
			t.Errorf("%q: 0x%x, %v", spec, n, ok)
		}
	}
}

// Where the TPM's owner has a password, keys and counters want it.
func TestOwnerPassword(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	conn, err := dialTPM(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.HierarchyChangeAuth{AuthHandle: conn.owner(), NewAuth: tpm2.TPM2BAuth{Buffer: []byte("boss")}}).Execute(conn); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := KeygenTPM(path, TPMKeyOptions{TPM: address}); !errors.Is(err, ErrPassphrase) {
		t.Errorf("nobody to ask: %v", err)
	}
	if _, err := KeygenTPM(path, TPMKeyOptions{TPM: address, Passphrase: password("a", "b", "c")}); !errors.Is(err, ErrTPMAuth) {
		t.Errorf("wrong passwords: %v", err)
	}
	if _, err := KeygenTPM(path, TPMKeyOptions{TPM: address, Passphrase: password("a", "boss")}); err != nil {
		t.Error(err)
	}
	mustSign(t, "tpm:"+path, Options{Class: sshsig.Self, TPM: address, Passphrase: password("boss")})
	if n, err := Count(DefaultCounter, Options{TPM: address, Passphrase: password("boss")}); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
}
