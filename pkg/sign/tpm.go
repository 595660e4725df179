package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/ssh"
)

// tpmSpec splits tpm[:KEYFILE].
func tpmSpec(spec string) (path string, ok bool) {
	if spec == "tpm" {
		return "", true
	}
	return strings.CutPrefix(spec, "tpm:")
}

// openTPMKey opens a TSS2 PEM key file and tries the key, so that a wrong password
// or changed PCRs come to light before there is anything to sign.
func openTPMKey(path string, o Options) (*Signer, error) {
	if path == "" {
		path = o.Places.TPMKey()
	}
	k, locked, err := openTPMFile(path, o, signing)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewSignerFromSigner(k)
	if err == nil {
		err = k.unlock(fmt.Sprintf("TPM key %q", path), locked, o.Passphrase)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%q: %w", path, err), k.Close())
	}
	return &Signer{key: key, what: fmt.Sprintf("TPM key %q", path), closer: k}, nil
}

// tpmKey is a crypto.Signer whose key is loaded in a TPM.
type tpmKey struct {
	conn   *tpmConn
	parent *tpmParent
	handle tpm2.NamedHandle
	public *ecdsa.PublicKey
	policy *tpmPolicy // nil: the password alone
	auth   []byte
	trial  func() error // uses the key for nothing in particular
}

// tpmParent is a loaded storage key.
type tpmParent struct {
	tpm2.NamedHandle
	public tpm2.TPMTPublic
	flush  bool // it is ours
	users  int
}

// loadParent makes the storage root key again, or takes a persistent one.
func loadParent(tpm *tpmConn, parent tpm2.TPMHandle) (p tpmParent, err error) {
	var public *tpm2.TPMTPublic
	if parent>>24 == 0x81 { // TPM_HT_PERSISTENT
		rsp, err := tpm2.ReadPublic{ObjectHandle: parent}.Execute(tpm)
		if err != nil {
			return p, tpmError("read the parent key", err)
		}
		p.NamedHandle = tpm2.NamedHandle{Handle: parent, Name: rsp.Name}
		public, err = rsp.OutPublic.Contents()
		if err != nil {
			return p, tpmError("read the parent key", err)
		}
	} else {
		rsp, err := makeRoot(tpm)
		if err != nil {
			return p, err
		}
		p.NamedHandle, p.flush = tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, true
		public, err = rsp.OutPublic.Contents()
		if err != nil {
			return p, tpmError("make the storage root key", err)
		}
	}
	p.public = *public
	return p, nil
}

// makeRoot makes the storage root key, the same each time. The template is part of
// the file format: other tools use it too.
func makeRoot(tpm *tpmConn) (rsp *tpm2.CreatePrimaryResponse, err error) {
	err = tpm.asOwner(func(owner tpm2.AuthHandle) error {
		rsp, err = tpm2.CreatePrimary{PrimaryHandle: owner, InPublic: tpm2.New2B(keyfile.ECCSRK_H2_Template)}.Execute(tpm)
		if err != nil {
			return tpmError("make the storage root key", err)
		}
		return nil
	})
	return rsp, err
}

func (p tpmParent) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.Handle, Name: p.Name, Auth: tpm2.PasswordAuth(nil)}
}

func loadTPMKey(conn *tpmConn, file *keyfile.TPMKey, use purpose) (k *tpmKey, err error) {
	k = &tpmKey{conn: conn}
	k.trial = func() error {
		_, err := k.Sign(nil, make([]byte, k.hash().Size()), k.hash())
		return err
	}
	if k.public, err = publicOf(file, use); err != nil {
		return nil, err
	}
	if k.policy, err = parsePolicy(file.Policy); err != nil {
		return nil, err
	}
	if k.parent, err = conn.parent(file.Parent); err != nil {
		return nil, err
	}
	rsp, err := tpm2.Load{ParentHandle: k.parent.auth(), InPrivate: file.Privkey, InPublic: file.Pubkey}.Execute(conn)
	if err != nil {
		k.parent.unload(conn)
		return nil, tpmError(doingLoad, err)
	}
	k.handle = tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}
	return k, nil
}

// unlock finds the password, if the key has one, by signing nothing in particular.
func (k *tpmKey) unlock(what string, locked bool, ask func(string) ([]byte, error)) error {
	if !locked {
		return k.trial()
	}
	if ask == nil {
		return fmt.Errorf("%w, and nobody to ask", ErrPassphrase)
	}
	var err error
	for range maxTries {
		if k.auth, err = ask(what); err != nil {
			return fmt.Errorf("%w: %w", ErrPassphrase, err)
		}
		if err = k.trial(); !errors.Is(err, ErrTPMAuth) {
			return err
		}
	}
	return err
}

// hash is what ssh uses with the curve (RFC 5656, 6.2.1).
func (k *tpmKey) hash() crypto.Hash {
	if k.public.Curve.Params().BitSize > 256 {
		return crypto.SHA384
	}
	return crypto.SHA256
}

// Public is part of crypto.Signer.
func (k *tpmKey) Public() crypto.PublicKey { return k.public }

// Sign is part of crypto.Signer: digest is a hash of size opts.HashFunc().
func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	alg := tpm2.TPMAlgSHA256
	if opts.HashFunc() == crypto.SHA384 {
		alg = tpm2.TPMAlgSHA384
	}
	rsp, err := tpm2.Sign{
		KeyHandle: tpm2.AuthHandle{Handle: k.handle.Handle, Name: k.handle.Name, Auth: k.session()},
		Digest:    tpm2.TPM2BDigest{Buffer: digest},
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: alg})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(k.conn)
	if err != nil {
		return nil, tpmError("sign", err)
	}
	sig, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return nil, tpmError("sign", err)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
}

// session authorizes one use of the key. It is salted by the parent, so that a
// listener on the bus learns no password, and encrypts the digest. EncryptIn: the
// signature is no sized buffer, so that the way back cannot be encrypted.
func (k *tpmKey) session() tpm2.Session {
	options := []tpm2.AuthOption{
		tpm2.Auth(k.auth), tpm2.Salted(k.parent.Handle, k.parent.public), tpm2.AESEncryption(128, tpm2.EncryptIn),
	}
	if k.policy != nil {
		return tpm2.Policy(tpm2.TPMAlgSHA256, sha256.Size, k.policy.satisfy, options...)
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, sha256.Size, options...)
}

// Close unloads the key; without a resource manager nobody else would.
func (k *tpmKey) Close() error {
	clear(k.auth)
	_, err := tpm2.FlushContext{FlushHandle: k.handle.Handle}.Execute(k.conn)
	k.parent.unload(k.conn)
	return errors.Join(err, k.conn.Close())
}
