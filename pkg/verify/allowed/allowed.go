package allowed

import (
	"errors"
	"time"

	"golang.org/x/crypto/ssh"
)

// MaxSize is the longest file that is read, in bytes.
const MaxSize = 4 << 20

// Why a line does not let a key sign. Errors of Find wrap these.
var (
	// ErrUnknown: no line lists the key, nor the authority of its certificate.
	ErrUnknown = errors.New("signer not trusted here")
	// ErrPrincipal: a line lists the key, for other names.
	ErrPrincipal = errors.New("key listed under another name")
	// ErrNamespace: a line lists the key, for other purposes.
	ErrNamespace = errors.New("key not allowed to sign in this class")
	// ErrTime: the line's or the certificate's validity does not hold.
	ErrTime = errors.New("key outside its validity")
	// ErrCertificate: the certificate is none that we accept.
	ErrCertificate = errors.New("certificate not acceptable")
	// ErrSyntax: the file is malformed. Errors of Parse wrap it.
	ErrSyntax = errors.New("malformed allowed_signers")
)

// File is a decoded allowed_signers file.
type File struct {
	Lines []Line
}

// Line is one line of it.
type Line struct {
	// Number counts from 1.
	Number int
	// Principals is a pattern list: comma between, * and ? inside, ! before.
	Principals string
	// Key is the signer's, or with CertAuthority that of who certifies signers.
	Key           ssh.PublicKey
	CertAuthority bool
	// Namespaces is a pattern list; Pinned says that there is one, else any will do.
	Namespaces string
	Pinned     bool
	// ValidAfter and ValidBefore are inclusive; zero is no bound.
	ValidAfter, ValidBefore time.Time
}

// Query asks whether a key may sign.
type Query struct {
	// Key made the signature; it may be a certificate.
	Key ssh.PublicKey
	// Principal is who the signer claims to be. Empty asks for the name that the
	// file, or the certificate, gives the key, else its fingerprint, if patterns fit.
	Principal string
	// Namespace is what the signature is for.
	Namespace string
	// Times are the moments at which all validities must hold.
	Times []time.Time
}

// Match is the line that lets a key sign, and the name by which it does.
type Match struct {
	Line      Line
	Principal string
}
