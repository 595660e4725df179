package sign

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// What can be wrong with a TPM, each with another remedy. All wrap ErrTPM.
var (
	// ErrTPM is any error of a TPM.
	ErrTPM = errors.New("TPM")
	// ErrTPMMissing: there is no TPM at the address, or no right to use it.
	ErrTPMMissing = fmt.Errorf("%w not usable", ErrTPM)
	// ErrTPMAuth: wrong password. Each counts towards a lockout.
	ErrTPMAuth = fmt.Errorf("%w: wrong password", ErrTPM)
	// ErrTPMPolicy: the PCRs are not those that the key was bound to: other
	// firmware, boot loader or kernel.
	ErrTPMPolicy = fmt.Errorf("%w: PCRs are not what the key wants", ErrTPM)
	// ErrTPMLockout: too many wrong passwords; it takes none for a while.
	ErrTPMLockout = fmt.Errorf("%w locked out after wrong passwords", ErrTPM)
	// ErrTPMBusy: it did not answer in time.
	ErrTPMBusy = fmt.Errorf("%w busy", ErrTPM)
	// ErrTPMKey: the key file is not for this TPM, or asks for what we cannot do.
	ErrTPMKey = fmt.Errorf("%w key not usable", ErrTPM)
)

// tpmError sorts an error of a command by what there is to do about it.
func tpmError(doing string, err error) error {
	class := ErrTPM
	switch {
	case errors.Is(err, ErrTPM):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.Is(err, tpm2.TPMRCLockout):
		class = ErrTPMLockout
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		class = ErrTPMAuth
	case errors.Is(err, tpm2.TPMRCIntegrity) && doing == doingLoad:
		class = ErrTPMKey
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCValue) && doing == doingPolicy:
		class = ErrTPMPolicy
	}
	return fmt.Errorf("%s: %w: %w", doing, class, err)
}

// Commands whose errors mean something of their own: TPM2_PolicyPCR says TPM_RC_VALUE
// where the PCRs do not match, TPM2_Load TPM_RC_INTEGRITY where the key is not this
// TPM's, or no longer, after it was cleared.
const (
	doingPolicy = "satisfy the key's policy"
	doingLoad   = "load the key into this TPM"
)
