package verify

import (
	"errors"

	"github.com/ckptool/ckpt/pkg/verify/allowed"
)

// Why an image is refused, or its signer not trusted. Errors of Open wrap one of
// these, or one of package image when the bytes are no image at all.
var (
	// ErrSignature: a signature is present and wrong, or is no SSHSIG.
	ErrSignature = errors.New("wrong signature")
	// ErrNamespace: the signature was made for something other than an image, or
	// for another class than the image claims.
	ErrNamespace = errors.New("signature made for another purpose")
	// ErrTooMany: more than MaxSignatures.
	ErrTooMany = errors.New("too many signatures")
	// ErrOrder: signatures out of order, or one key twice in a class.
	ErrOrder = errors.New("signatures out of order")
	// ErrUnsigned: there is no signature, and a trusted one is required.
	ErrUnsigned = errors.New("not signed")
	// ErrStripped: the manifest says that it is signed, and that signature is missing.
	ErrStripped = errors.New("signature missing that the image claims")
	// ErrUnknownSigner: no trust file lists the key.
	ErrUnknownSigner = allowed.ErrUnknown
	// ErrPrincipal: the key is listed, for other names than the image claims.
	ErrPrincipal = allowed.ErrPrincipal
	// ErrClass: the key is listed, but not for this class (namespaces=).
	ErrClass = allowed.ErrNamespace
	// ErrKeyTime: the key or certificate was or is outside its validity.
	ErrKeyTime = allowed.ErrTime
	// ErrCertificate: the certificate is no user certificate that we accept.
	ErrCertificate = allowed.ErrCertificate
	// ErrRevoked: a revocation list names the key, its certificate or authority.
	ErrRevoked = errors.New("key revoked")
	// ErrTrustFile: a trust or revocation file is malformed, or somebody else could write it.
	ErrTrustFile = errors.New("trust file not usable")
	// ErrExpired: the image is past its not-after.
	ErrExpired = errors.New("image expired")
	// ErrFuture: the image says it was made after now.
	ErrFuture = errors.New("image from the future")
	// ErrAudience: the image is meant for another host.
	ErrAudience = errors.New("image for another host")
	// ErrAttest: there is no quote by an enrolled machine, or it states other PCRs.
	ErrAttest = errors.New("not attested")
	// ErrExpect: the manifest is not the one that was expected.
	ErrExpect = errors.New("not the expected image")
	// ErrParent: the image given as parent is not the one that the child names.
	ErrParent = errors.New("not the image's parent")
	// ErrConsumed: the image must be restored once only, and was.
	ErrConsumed = errors.New("image already restored")
	// ErrRollback: a later image of the lineage was restored here.
	ErrRollback = errors.New("image older than one already restored")
	// ErrClock: the clock stands before the ledger's last entry.
	ErrClock = errors.New("clock ran backwards")
	// ErrLedger: the ledger is damaged, full, or open to others.
	ErrLedger = errors.New("ledger not usable")
	// ErrNoGrant: the signer is trusted, but not to grant anything: the class is
	// self, or the trust file is the caller's own.
	ErrNoGrant = errors.New("signature grants nothing")
)
