// Package quote reads TPM quotes that stand beside an image's signatures, and lists of the machines that may make them.
//
// A quote is a TPM 2.0's statement, signed by a key that signs nothing but the TPM's own statements (a restricted
// attestation key), that its PCRs had these values when it was asked with that nonce. The nonce is made of the manifest's
// digest, so that a quote belongs to one image. PCRs describe how the machine booted; they say nothing of ckpt.
//
// The package is pure: it checks bytes and needs no TPM.
package quote
