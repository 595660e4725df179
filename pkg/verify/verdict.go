package verify

import (
	"time"

	"github.com/ckptool/ckpt/pkg/verify/quote"
)

// Verdict is what Open found out about an image's signatures. The zero Verdict
// is that of an unsigned image.
type Verdict struct {
	// Signed: there is at least one signature, and all of them are right.
	Signed bool
	// Trusted: a trust file lets Signer sign with this key in this class, at the
	// time of the dump and now.
	Trusted bool
	// Class, Key, Algorithm and the others below are those of the one signature that
	// counts: the claimed signer's, else the first that is trusted, else the first.
	Class Class
	// Signer is the principal as the trust file knows it; if not Trusted, what
	// the image claims.
	Signer string
	// Key is the fingerprint as ssh-keygen -l prints it, of the key itself where
	// a certificate was used.
	Key string
	// CA is the fingerprint of the authority that certified Key, if one did.
	CA string
	// Algorithm is the signature's, such as ssh-ed25519 or rsa-sha2-512.
	Algorithm string
	// When is when the signer says the dump was taken.
	When time.Time
	// Source and Path are of the trust file that decided, if Trusted.
	Source Source
	Path   string
	// Grants: the verdict can open what the caller alone could not: an operator's
	// or host's signature, trusted by the system's file, or by root's own when
	// root is the caller.
	Grants bool
	// ForThisHost: the image's audience is a name that root gave to this host. An
	// image that names nobody is accepted but never has this.
	ForThisHost bool
	// Quote is what the TPM of the machine of the dump stated, nil where none did.
	Quote *quote.Quote
	// Attested names the machine, where the system's list believes Quote; NotAttested
	// is why it does not, where there is a Quote and a list.
	Attested    string
	NotAttested error
	// Manifest is the digest of what was signed.
	Manifest Digest
	// Reasons are why the signature is not trusted, or does not grant, each an
	// error of this package; what made it trusted in the end leaves none.
	Reasons []error
	// Others are the signatures beside the one that counts. They grant nothing.
	Others []Signature
}

// Signature is one signature beside the one that a verdict is about.
type Signature struct {
	Class     Class
	Key       string
	CA        string
	Algorithm string
	Signer    string
	Trusted   bool
	Reasons   []error
}
