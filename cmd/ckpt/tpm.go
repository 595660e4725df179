package main

import (
	"errors"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/sign"
)

// tpmAdvice says what can be done about an error of a TPM.
func tpmAdvice(err error) error {
	for _, known := range []struct {
		is   error
		text string
	}{
		{sign.ErrTPMMissing, "--tpm or CKPT_TPM names the TPM; " + sign.DefaultTPM + " wants root or its group (tss)"},
		{sign.ErrTPMLockout, "it takes passwords again after a while, or after tpm2_dictionarylockout --clear-lockout"},
		{sign.ErrTPMPolicy, "the machine booted otherwise than when the key was made: boot as before, or make a new key with ckpt keygen"},
		{sign.ErrTPMBusy, "try again; another program may be using it"},
		{sign.ErrTPMKey, "a key in a TPM is of use on that machine only, until its TPM is cleared: ckpt keygen --tpm makes one"},
	} {
		if errors.Is(err, known.is) {
			return cli.WithHint(err, "%s", known.text)
		}
	}
	return err
}
