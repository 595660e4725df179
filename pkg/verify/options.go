package verify

import (
	"time"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// Class is what a signature stands for, see [sshsig.Class].
type Class = sshsig.Class

// The classes, see package sshsig.
const (
	None     = sshsig.None
	Self     = sshsig.Self
	Operator = sshsig.Operator
	Host     = sshsig.Host
)

// MaxSignatures is how many signatures an image may carry.
const MaxSignatures = 8

// Digest is the SHA-256 of a manifest: what an image is called by a ledger and --expect.
type Digest [32]byte

// Source says whose trust file it is, and so what it can grant.
type Source uint8

const (
	// Extra is a file the caller named (--verify=FILE). It grants nothing: with
	// one, a signer that it does not trust is refused, whoever else trusts it.
	Extra Source = iota
	// Own is the caller's own file. It grants only where the caller is root.
	Own
	// System is /etc/ckpt/allowed_signers.
	System
)

// String names the source in messages.
func (s Source) String() string {
	switch s {
	case System:
		return "system"
	case Own:
		return "own"
	}
	return "extra"
}

// TrustFile is an allowed_signers file and the facts of where it lies.
type TrustFile struct {
	Path   string
	Source Source
	Bytes  []byte
	// OwnerUID is the file's owner, Mode its permission bits (st_mode & 07777).
	OwnerUID uint32
	Mode     uint32
	// WritableByOthers: somebody who is neither root nor the owner expected for
	// the source could replace the file through a directory above it, or an ACL.
	WritableByOthers bool
}

// RevocationFile is a list of revoked keys: a binary KRL, or text with a public
// key or a SHA256: fingerprint a line. The facts are those of a TrustFile.
type RevocationFile TrustFile

// Options say what Open must find, and the facts it judges by.
type Options struct {
	// Trust is searched in order of source, System, Own, Extra; the first file that
	// trusts the signer decides the verdict.
	Trust []TrustFile
	// Revoked is consulted for every key of every signature and its certificate.
	// A file that cannot be read as one is an error.
	Revoked []RevocationFile
	// RequireTrusted refuses what no trust file vouches for. A file of source Extra
	// implies it.
	RequireTrusted bool
	// Unclaimed takes an image without any signature for one that claims none: for
	// who uses it whoever made it.
	Unclaimed bool
	// Expect, when not nil, is the only manifest accepted.
	Expect *Digest
	// Caller is the real uid that restores: who must own a trust file of source Own.
	Caller uint32
	// Now is the time of the verdict. It must not be zero.
	Now time.Time
	// Zone is for the times in trust files that do not end in Z; nil for UTC.
	Zone *time.Location
	// Audience are the names of this host. An image for another is refused.
	Audience []string
	// Elsewhere is for an image that is not to be used here, now: its time and its
	// audience do not matter.
	Elsewhere bool
	// Given are those of them that root wrote down. Only an image that names one of
	// them is for this host and no other, as far as privilege goes: machines that
	// were cloned share the rest.
	Given []string
	// Attest lists machines whose quotes are believed. With a file of source Extra,
	// an image without a quote that it believes is refused. A quote grants nothing.
	Attest []TrustFile
}
