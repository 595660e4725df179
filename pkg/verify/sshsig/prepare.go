package sshsig

import (
	"bytes"
	"crypto/ed25519"
)

// Prepare makes the table that the first Ed25519 signature which a process checks
// needs: half a millisecond of work, to be done while something else is. It takes
// part in no check, and without it the table is made in time.
func Prepare() {
	// The base point is a key like any other (RFC 8032, 5.1).
	base := append([]byte{0x58}, bytes.Repeat([]byte{0x66}, ed25519.PublicKeySize-1)...)
	ed25519.Verify(base, nil, make([]byte, ed25519.SignatureSize))
}
