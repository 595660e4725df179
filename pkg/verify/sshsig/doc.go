// Package sshsig reads, makes and checks SSHSIG signatures, the format of
// ssh-keygen -Y (OpenSSH, PROTOCOL.sshsig), in both directions.
//
// It is stricter than ssh-keygen: a blob or armor that is not exactly what
// encoding its decoded form gives is refused, as are DSA, SHA-1 and RSA keys
// below 2048 bits.
package sshsig
