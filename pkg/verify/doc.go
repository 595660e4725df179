// Package verify decides whether an image may be believed, and by how much.
//
// It is the only way to an image's contents that a restore accepts: [Open]
// returns an [*Image], nothing else can make one, and page data is had only
// through it, each chunk compared with its signed digest at the moment of use.
//
// # Parties
//
// The signer holds a key (package sign). The verifier holds trust files in
// OpenSSH's allowed_signers format and, if wanted, revocation lists. The image
// comes from anybody. The caller is who runs the restore.
//
// # Classes
//
// Each signature is an SSHSIG over the manifest's bytes in one of three
// namespaces, which are ours alone, so that a key's git or file signatures are
// worth nothing here and the reverse:
//
//	self      ckpt-image-self@v1      integrity only; grants what no signature would
//	operator  ckpt-image-operator@v1  a person vouches for the content
//	host      ckpt-image-host@v1      a host states the credentials it saw at the dump
//
// # Order
//
//  1. The envelope is parsed within fixed bounds; the manifest stays opaque.
//  2. Every signature present is checked over the manifest's bytes. A wrong one
//     refuses the image, whether one was required or not.
//     The same goes for a TPM's quote (package quote), of which there may be one.
//  3. More than [MaxSignatures], a wrong order of them, or any revoked key refuses it.
//     So far goes [Check]; a caller with privilege that [Checked.MayGrant] denies
//     gives it up here.
//  4. The manifest is decoded. Its header must agree with the signatures:
//     the claimed signer's and class's signature must be there.
//  5. That one signature is looked up in the trust files, at the time of the
//     dump and now. The outcome is the [Verdict]. A quote is looked up in lists of
//     machines; it can be demanded, and grants nothing.
//  6. [Options] say what must hold; whatever does not is an error.
//
// The header's signer is a principal, or a key's fingerprint where there is no name.
// Empty, with class self, it claims nothing: such an image may be unsigned, or
// signed later by anybody, one of whose signatures then counts.
//
// The package is pure: files, their owners, the clock and the names of this
// host come in as data.
package verify
