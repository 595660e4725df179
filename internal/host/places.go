package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Settings is where the administrator's files are.
const Settings = "/etc/ckpt"

// SystemTrust is the administrator's list of who may sign images, SystemRevoked that
// of keys that nobody may believe any more, and SystemMachines that of machines whose
// TPM is believed (package quote).
const (
	SystemTrust    = "/etc/ckpt/allowed_signers"
	SystemRevoked  = "/etc/ckpt/revoked_keys"
	SystemMachines = "/etc/ckpt/attested_machines"
)

// HostKey is the key by which root signs for this host, HostTPMKey such a key in its TPM.
const (
	HostKey    = "/etc/ckpt/host_key"
	HostTPMKey = "/etc/ckpt/host_tpm.pem"
)

// MakeTrust makes a trust file that everybody may read, and the directory it is in,
// where they are not there yet.
func MakeTrust(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// OwnTrust is the caller's own list, where package sign puts it too. The
// environment's configHome must be left empty where it isn't the caller's to
// choose.
func OwnTrust(home, configHome string) string { return own(home, configHome, "allowed_signers") }

// OwnRevoked is the caller's own list of revoked keys.
func OwnRevoked(home, configHome string) string { return own(home, configHome, "revoked_keys") }

func own(home, configHome, name string) string {
	if !filepath.IsAbs(configHome) {
		configHome = filepath.Join(home, ".config")
	}
	return filepath.Join(configHome, "ckpt", name)
}
