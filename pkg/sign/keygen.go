package sign

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// Keygen makes an ed25519 key pair in OpenSSH's format: path (0600) and path.pub
// (0644), neither of which may exist (fs.ErrExist), in a directory made at need
// (0700). comment stands in both; a passphrase, if not empty, encrypts the first.
func Keygen(path, comment string, passphrase []byte) (ssh.PublicKey, error) {
	pub, err := keygen(path, comment, passphrase)
	if err != nil {
		return nil, fmt.Errorf("make key %q: %w", path, err)
	}
	return pub, nil
}

func keygen(path, comment string, passphrase []byte) (ssh.PublicKey, error) {
	// Making a key costs much more than a look; writing it looks again.
	if _, err := os.Lstat(path); err == nil {
		return nil, fs.ErrExist
	}
	if strings.ContainsAny(comment, "\r\n\x00") {
		return nil, fmt.Errorf("comment %q has more than one line", comment)
	}
	pub, private, err := newPair(comment, passphrase)
	if err != nil {
		return nil, err
	}
	return pub, writePair(path, private, pub, comment)
}

func newPair(comment string, passphrase []byte) (ssh.PublicKey, []byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	var block *pem.Block
	if len(passphrase) == 0 {
		block, err = ssh.MarshalPrivateKey(key, comment)
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, comment, passphrase)
	}
	if err != nil {
		return nil, nil, err
	}
	return pub, pem.EncodeToMemory(block), nil
}

// writeNew makes a file that is whole on disk, or is not there.
func writeNew(path string, mode os.FileMode, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Authorize lets key sign as principal in the given classes, by a line at the end
// of the allowed_signers file at path, made at need (0600, its directory 0700). A
// file that has the very line is left alone; added says whether it was written.
func Authorize(path, principal string, classes []sshsig.Class, key ssh.PublicKey) (added bool, err error) {
	line, err := allowedLine(principal, classes, key)
	if err != nil {
		return false, fmt.Errorf("authorize a key: %w", err)
	}
	added, err = appendLine(path, line)
	if err != nil {
		return false, fmt.Errorf("authorize a key in %q: %w", path, err)
	}
	return added, nil
}

func allowedLine(principal string, classes []sshsig.Class, key ssh.PublicKey) (string, error) {
	// A name, never a pattern, and nothing that ends the word or the line.
	if principal == "" || strings.ContainsAny(principal, " \t\r\n\x00\"#,*?!") {
		return "", fmt.Errorf("principal %q is not a plain name", principal)
	}
	var namespaces []string
	for _, c := range classes {
		namespaces = append(namespaces, c.Namespace())
	}
	if len(namespaces) == 0 {
		return "", errors.New("no class to sign in")
	}
	return fmt.Sprintf("%s namespaces=\"%s\" %s", principal, strings.Join(namespaces, ","), ssh.MarshalAuthorizedKey(key)), nil
}

// appendLine adds line in a single write, so that two of us at a time, or an
// editor that comes later, lose nothing of each other's.
func appendLine(path, line string) (added bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(f)
	if err != nil {
		return false, err
	}
	if strings.Contains("\n"+string(text)+"\n", "\n"+line) {
		return false, nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		line = "\n" + line
	}
	if _, err := f.WriteString(line); err != nil {
		return false, err
	}
	return true, f.Sync()
}

// MakeDefault makes the caller's default key where there is none, and authorizes
// it in the caller's own trust file as principal, for self and operator. made is
// false where a key was there already; its trust is then left as it is.
func MakeDefault(p Places, principal string) (made bool, err error) {
	pub, err := Keygen(p.Key(), principal, nil)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = Authorize(p.Trust(), principal, []sshsig.Class{sshsig.Self, sshsig.Operator}, pub)
	return true, err
}
