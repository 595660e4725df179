// Package sign makes the signatures that package verify checks: SSHSIG blobs
// over a manifest's bytes.
//
// A [Signer] is opened from a key's description, before the target of a dump is
// frozen, because opening may ask a person for a passphrase:
//
//	signer, err := sign.Open("", sign.Options{Class: sshsig.Operator, Home: home})
//	h.Signer, h.Class = signer.Claim(), signer.Class().String() // of the image's header
//	err = w.Close(m, func(manifest []byte) ([][]byte, error) { return sign.All(manifest, signer) })
//
// The description is the --sign=KEY of the command line: a private key file in
// OpenSSH's format, or agent[:COMMENT-or-FINGERPRINT], or tpm[:KEYFILE]; empty means the caller's
// own key, see [Places] and [Keygen].
//
// Beside signatures an image can carry what a TPM states of its machine, made by an
// [Attestor]. [Count] has a TPM give serial numbers that never come again.
package sign
