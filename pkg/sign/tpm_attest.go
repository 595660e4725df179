package sign

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/quote"
)

// Attestor has a TPM state what its PCRs are, for one image at a time.
type Attestor struct {
	key  *tpmKey
	pub  ssh.PublicKey
	pcrs []uint
	what string
}

// OpenAttestor opens an attestation key that KeygenTPM made; the empty path is the
// caller's own. pcrs are of the SHA-256 bank. A password is asked for now, and the
// key tried.
func OpenAttestor(path string, pcrs []uint, o Options) (*Attestor, error) {
	if path == "" {
		path = o.Places.AttestationKey()
	}
	a := &Attestor{pcrs: ascending(pcrs), what: fmt.Sprintf("attestation key %q", path)}
	k, locked, err := openTPMFile(path, o, attesting)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a.what, err)
	}
	a.key = k
	if a.pub, err = ssh.NewPublicKey(k.public); err == nil {
		k.trial = func() error { _, err := a.Quote(nil); return err }
		err = k.unlock(a.what, locked, o.Passphrase)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", a.what, err), k.Close())
	}
	return a, nil
}

// ascending is a selection of PCRs as a TPM thinks of it: a set.
func ascending(pcrs []uint) []uint {
	return slices.Compact(slices.Sorted(slices.Values(pcrs)))
}

// Quote is the entry for an image's signatures that states the PCRs as they are now.
func (a *Attestor) Quote(manifest []byte) ([]byte, error) {
	q, err := a.quote(quote.NonceFor(sha256.Sum256(manifest)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.what, err)
	}
	return q.Marshal(), nil
}

func (a *Attestor) quote(nonce [32]byte) (*quote.Quote, error) {
	rsp, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: a.key.handle.Handle, Name: a.key.handle.Name, Auth: a.key.session()},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce[:]},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      selection(a.pcrs),
	}.Execute(a.key.conn)
	if err != nil {
		return nil, tpmError("quote", err)
	}
	sig, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return nil, tpmError("quote", err)
	}
	pair := ssh.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
	q, err := quote.New(a.pub, tpm2.Marshal(rsp.Quoted)[2:], &ssh.Signature{Format: a.pub.Type(), Blob: pair})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTPM, err)
	}
	// A bank without one of the PCRs is passed over in silence.
	if !slices.Equal(q.PCRs, a.pcrs) {
		return nil, fmt.Errorf("%w has only %s, of PCRs %v", ErrTPM, q.Selection(), a.pcrs)
	}
	return q, nil
}

// Line enrolls the key, with what the PCRs are now, in a list for rstr --attest.
func (a *Attestor) Line(name string) (string, error) {
	q, err := a.quote([32]byte{})
	if err != nil {
		return "", fmt.Errorf("%s: %w", a.what, err)
	}
	return q.Line(name), nil
}

// Fingerprint names the key as ssh-keygen -l does.
func (a *Attestor) Fingerprint() string { return ssh.FingerprintSHA256(a.pub) }

// Close unloads the key.
func (a *Attestor) Close() error { return a.key.Close() }

// purpose is what a TPM key is made for. One that signs what it is given could
// forge a TPM's statements, so it must not be able to make them.
type purpose bool

const (
	signing   purpose = false
	attesting purpose = true // TPMA_OBJECT restricted
)

// openTPMFile loads the key of a TSS2 PEM file. locked says whether it has a password.
func openTPMFile(path string, o Options, use purpose) (k *tpmKey, locked bool, err error) {
	text, err := readKeyFile(path, 0o077)
	if err != nil {
		return nil, false, err
	}
	file, err := keyfile.Decode(text)
	if err != nil {
		return nil, false, fmt.Errorf("%q: %w: %w", path, ErrTPMKey, err)
	}
	conn, err := o.TPMs.dial(o)
	if err != nil {
		return nil, false, err
	}
	if k, err = loadTPMKey(conn, file, use); err != nil {
		return nil, false, errors.Join(fmt.Errorf("%q: %w", path, err), conn.Close())
	}
	return k, file.HasAuth(), nil
}

// publicOf is the ECDSA key of a file that is made for what it is wanted for.
func publicOf(file *keyfile.TPMKey, use purpose) (*ecdsa.PublicKey, error) {
	pub, err := file.Pubkey.Contents()
	if err != nil || pub.Type != tpm2.TPMAlgECC || !pub.ObjectAttributes.SignEncrypt {
		return nil, fmt.Errorf("%w: not an ECDSA signing key", ErrTPMKey)
	}
	switch restricted := pub.ObjectAttributes.Restricted; {
	case restricted && use == signing:
		return nil, fmt.Errorf("%w: an attestation key signs nothing but what the TPM states", ErrTPMKey)
	case !restricted && use == attesting:
		return nil, fmt.Errorf("%w: it signs anything, so that nobody would believe what it states; ckpt keygen --attestation-key makes one", ErrTPMKey)
	}
	public, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTPMKey, err)
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: not an ECDSA signing key", ErrTPMKey)
	}
	return key, nil
}
