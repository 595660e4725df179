package host

import "path/filepath"

// SystemTrust is the administrator's list of who may sign images.
const SystemTrust = "/etc/ckpt/allowed_signers"

// OwnTrust is the caller's own list, where package sign puts it too. The
// environment's configHome must be left empty where it isn't the caller's to
// choose.
func OwnTrust(home, configHome string) string {
	if !filepath.IsAbs(configHome) {
		configHome = filepath.Join(home, ".config")
	}
	return filepath.Join(configHome, "ckpt", "allowed_signers")
}
