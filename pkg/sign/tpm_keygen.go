package sign

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// TPMKeyOptions say what key KeygenTPM makes.
type TPMKeyOptions struct {
	// TPM is a device, unix socket or host:port; empty for DefaultTPM.
	TPM string
	// P384 is for the larger curve, where the TPM has it; else P-256.
	P384 bool
	// Attestation is for a key that signs nothing but what the TPM states of itself:
	// what OpenAttestor wants, and no good for signatures.
	Attestation bool
	// PCRs of the SHA-256 bank to whose present values the key is bound; none: any.
	PCRs []uint
	// Auth is a password; empty for none.
	Auth []byte
	// Comment stands in the public key's file.
	Comment string
	// Passphrase asks for the password of the TPM's owner, if it has one.
	Passphrase func(what string) ([]byte, error)
}

// KeygenTPM makes an ECDSA key under the TPM's storage root key: path is its TSS2
// PEM file (0600), of use to this TPM only, and path.pub the public half, which goes
// into allowed_signers like any other. Neither may exist. Errors wrap ErrTPM or are
// the file system's.
func KeygenTPM(path string, o TPMKeyOptions) (ssh.PublicKey, error) {
	pub, err := keygenTPM(path, o)
	if err != nil {
		return nil, fmt.Errorf("make TPM key %q: %w", path, err)
	}
	return pub, nil
}

func keygenTPM(path string, o TPMKeyOptions) (pub ssh.PublicKey, err error) {
	conn, err := dialTPM(o.TPM)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	conn.ask, o.PCRs = o.Passphrase, ascending(o.PCRs)
	key, err := createTPMKey(conn, o)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTPM, err)
	}
	if pub, err = ssh.NewPublicKey(public); err != nil {
		return nil, err
	}
	if err := sshsig.CheckKey(pub); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := keyfile.Encode(&text, key); err != nil {
		return nil, err
	}
	return pub, writePair(path, text.Bytes(), pub, o.Comment)
}

// writePair writes a private key and, beside it, the public one.
func writePair(path string, private []byte, pub ssh.PublicKey, comment string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := writeNew(path, 0o600, private); err != nil {
		return err
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(pub), []byte("\n"))
	if err := writeNew(path+".pub", 0o644, fmt.Appendf(line, " %s\n", comment)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func createTPMKey(conn *tpmConn, o TPMKeyOptions) (*keyfile.TPMKey, error) {
	parent, err := conn.parent(tpm2.TPMRHOwner)
	if err != nil {
		return nil, err
	}
	defer parent.unload(conn)
	template, policy, err := keyTemplate(conn, o)
	if err != nil {
		return nil, err
	}
	session := tpm2.HMAC(tpm2.TPMAlgSHA256, 32, tpm2.Salted(parent.Handle, parent.public), tpm2.AESEncryption(128, tpm2.EncryptInOut))
	rsp, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.Handle, Name: parent.Name, Auth: session},
		InSensitive: tpm2.TPM2BSensitiveCreate{
			Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: o.Auth}},
		},
		InPublic: tpm2.New2B(template),
	}.Execute(conn)
	if err != nil {
		return nil, tpmError("create the key", err)
	}
	options := []keyfile.TPMKeyOption{keyfile.WithUserAuth(o.Auth), keyfile.WithDescription(o.Comment)}
	if policy != nil {
		options = append(options, keyfile.WithPolicy(policy.commands()))
	}
	return keyfile.NewTPMKey(keyfile.OIDLoadableKey, rsp.OutPublic, rsp.OutPrivate, options...), nil
}

// keyTemplate is a key that signs, or attests, and does nothing else. With a policy the
// password alone does not open it.
func keyTemplate(conn *tpmConn, o TPMKeyOptions) (t tpm2.TPMTPublic, policy *tpmPolicy, err error) {
	curve, hash := tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256
	if o.P384 {
		curve, hash = tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384
	}
	t = tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true, Restricted: o.Attestation,
			UserWithAuth: len(o.PCRs) == 0, NoDA: len(o.Auth) == 0,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: curve,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})},
		}),
	}
	if len(o.PCRs) == 0 {
		return t, nil, nil
	}
	if policy, err = currentPolicy(conn, o.PCRs, len(o.Auth) > 0); err != nil {
		return t, nil, err
	}
	t.AuthPolicy.Buffer, err = policy.digest()
	return t, policy, err
}
