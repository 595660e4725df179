package sign

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// ownerName is what is asked the password of, where the administrator set one
// (TPM2_HierarchyChangeAuth).
const ownerName = "the owner of the TPM"

// asOwner runs a command that the owner hierarchy must authorize. Most TPMs have no
// password for it; where there is one, it is asked for.
func (c *tpmConn) asOwner(do func(tpm2.AuthHandle) error) error {
	err := do(c.owner())
	for range maxTries {
		if !errors.Is(err, ErrTPMAuth) {
			return err
		}
		if c.ask == nil {
			return fmt.Errorf("%w: %w of its owner, and nobody to ask", err, ErrPassphrase)
		}
		var e error
		if c.ownerPassword, e = c.ask(ownerName); e != nil {
			return fmt.Errorf("%w: %w", ErrPassphrase, e)
		}
		err = do(c.owner())
	}
	return err
}

// owner proves the password without sending it.
func (c *tpmConn) owner() tpm2.AuthHandle {
	session := tpm2.PasswordAuth(nil)
	if len(c.ownerPassword) > 0 {
		session = tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(c.ownerPassword))
	}
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: session}
}
