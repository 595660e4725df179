// Package allowed reads OpenSSH allowed_signers files (ssh-keygen(1), ALLOWED
// SIGNERS) and says which line, if any, lets a key sign.
package allowed
