package sign

import "path/filepath"

// Places is where a caller keeps keys and trust.
type Places struct {
	// Home is the caller's home directory, an absolute path.
	Home string
	// ConfigHome is $XDG_CONFIG_HOME, to be left empty where the environment is
	// not the caller's to choose, as in a setuid program.
	ConfigHome string
}

// dir is ~/.config/ckpt. The XDG specification tells to ignore relative paths.
func (p Places) dir() string {
	if filepath.IsAbs(p.ConfigHome) {
		return filepath.Join(p.ConfigHome, "ckpt")
	}
	return filepath.Join(p.Home, ".config", "ckpt")
}

// Key is the path of the caller's default private key; the public half has .pub.
func (p Places) Key() string { return filepath.Join(p.dir(), "id_ed25519") }

// TPMKey is the path of the caller's default key in a TPM.
func (p Places) TPMKey() string { return filepath.Join(p.dir(), "tpm.pem") }

// AttestationKey is the path of the caller's key that has the TPM state its PCRs.
func (p Places) AttestationKey() string { return filepath.Join(p.dir(), "attestation.pem") }

// Trust is the path of the caller's own allowed_signers.
func (p Places) Trust() string { return filepath.Join(p.dir(), "allowed_signers") }

// Revoked is the path of the caller's own revocation list.
func (p Places) Revoked() string { return filepath.Join(p.dir(), "revoked_keys") }

// SystemTrust and SystemRevoked are the administrator's files: what they say can
// grant more than the caller has.
const (
	SystemTrust   = "/etc/ckpt/allowed_signers"
	SystemRevoked = "/etc/ckpt/revoked_keys"
)
