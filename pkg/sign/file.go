package sign

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

const (
	maxKeyFile = 1 << 20 // bytes
	maxTries   = 3       // at a passphrase, as ssh does
)

// openFile opens a private key in OpenSSH's, PKCS #1, PKCS #8 or SEC 1 PEM format.
func openFile(path string, o Options) (*Signer, error) {
	text, err := readKeyFile(path, 0o077)
	if err != nil {
		return nil, err
	}
	key, err := parsePrivate(text, path, o.Passphrase)
	clear(text)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, what: fmt.Sprintf("key %q", path)}, nil
}

// readKeyFile reads a regular file of which none of the permission bits in
// forbidden is set, and of a size that a key may have.
func readKeyFile(path string, forbidden os.FileMode) ([]byte, error) {
	// O_NONBLOCK: a FIFO in the key's place must not hang us.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%q: %w: not a regular file", path, ErrKey)
	case fi.Mode().Perm()&forbidden != 0:
		return nil, fmt.Errorf("%q: %w: mode is %04o, want 0600", path, ErrExposed, fi.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%q: %w: larger than %d bytes", path, ErrKey, maxKeyFile)
	}
	return text, err
}

// parsePrivate decodes a private key, asking for its passphrase if it has one.
func parsePrivate(text []byte, path string, ask func(string) ([]byte, error)) (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey(text)
	decrypt := ssh.ParsePrivateKeyWithPassphrase
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return key, nil
	case isEncryptedPKCS8(text):
		decrypt = decryptPKCS8
	case !errors.As(err, &locked) && isFIDO(path):
		return nil, fmt.Errorf("%q: %w: a FIDO key signs through ssh-agent: ssh-add it, and name it agent:%s", path, ErrKey, path)
	case !errors.As(err, &locked):
		return nil, fmt.Errorf("%q: %w: %w", path, ErrKey, err)
	}
	if ask == nil {
		return nil, fmt.Errorf("%q: %w, and nobody to ask", path, ErrPassphrase)
	}
	return unlock(text, path, ask, decrypt)
}

// isFIDO says whether a key is in a token, by its public half. Its file holds no
// private key, only what the token wants to be shown.
func isFIDO(path string) bool {
	pub, err := readPublic(path + ".pub")
	return err == nil && strings.HasPrefix(pub.Type(), "sk-")
}

// unlock tries what ask answers with decrypt, which takes a text and a passphrase.
func unlock(text []byte, path string, ask func(string) ([]byte, error), decrypt func(text, passphrase []byte) (ssh.Signer, error)) (ssh.Signer, error) {
	for range maxTries {
		passphrase, err := ask(fmt.Sprintf("key %q", path))
		if err != nil {
			return nil, fmt.Errorf("%q: %w: %w", path, ErrPassphrase, err)
		}
		key, err := decrypt(text, passphrase)
		clear(passphrase)
		if err == nil {
			return key, nil
		}
		if !errors.Is(err, x509.IncorrectPasswordError) {
			return nil, fmt.Errorf("%q: %w: %w", path, ErrKey, err)
		}
	}
	return nil, fmt.Errorf("%q: %w: wrong %d times", path, ErrPassphrase, maxTries)
}
