package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/verify"
)

// maxTrust bounds a trust file.
const maxTrust = 4 << 20

// TrustFile reads an allowed_signers file, or a list of revoked keys, with
// the facts by which package verify judges whether it may be believed. A file
// that is not there is nil without an error.
func TrustFile(path string, source verify.Source) (*verify.TrustFile, error) {
	fd, err := kernelio.OpenPath(path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd.Take()), path)
	defer f.Close()
	st, err := kernelio.Fstat(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	if st.Type() != unix.S_IFREG {
		return nil, fmt.Errorf("trust file %s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTrust+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxTrust {
		return nil, fmt.Errorf("trust file %s is larger than %d bytes", path, maxTrust)
	}
	t := &verify.TrustFile{Path: path, Source: source, Bytes: b, OwnerUID: st.UID, Mode: st.Mode & 0o7777}
	t.WritableByOthers, err = replaceable(path, st.UID)
	return t, err
}

// replaceable says whether somebody beside root and the owner could put
// another file in the place of path: a directory above it is theirs, or they
// may write to it (without the sticky bit, which lets them only add).
func replaceable(path string, owner uint32) (bool, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		st, err := kernelio.StatAt(unix.AT_FDCWD, dir)
		if err != nil {
			return false, err
		}
		if st.UID != 0 && st.UID != owner {
			return true, nil
		}
		if st.Type() == unix.S_IFDIR && st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return true, nil
		}
		if dir == filepath.Dir(dir) {
			return false, nil
		}
	}
}

// Trust is all that verdicts on this host are made of.
type Trust struct {
	Files   []verify.TrustFile
	Revoked []verify.RevocationFile
}

// Options are the facts of this host that an image is judged by; the caller and the
// time are left to fill in. attest is a list of machines that the caller named.
func (t Trust) Options(attest string) (verify.Options, error) {
	o := verify.Options{Trust: t.Files, Revoked: t.Revoked, Zone: Zone()}
	var err error
	if o.Given, err = GivenNames(); err != nil {
		return o, err
	}
	if o.Audience, err = Names(); err != nil {
		return o, err
	}
	for path, source := range map[string]verify.Source{SystemMachines: verify.System, attest: verify.Extra} {
		f, err := TrustFile(path, source)
		switch {
		case path == "":
		case err != nil && !(source == verify.System && errors.Is(err, fs.ErrPermission)):
			return o, err
		case f != nil:
			o.Attest = append(o.Attest, *f)
		case source == verify.Extra:
			return o, fmt.Errorf("list of machines %s: %w", path, fs.ErrNotExist)
		}
	}
	return o, nil
}

// ReadTrust reads the lists of the administrator and of the caller, and the
// one that the caller named, if any. Of those, only the last must be there. A
// system's list that the caller may not read vouches for nobody; a list of
// revoked keys that can't be read is an error.
func ReadTrust(home, configHome, extra string) (Trust, error) {
	var t Trust
	for _, from := range []struct {
		path   string
		source verify.Source
	}{{SystemTrust, verify.System}, {OwnTrust(home, configHome), verify.Own}, {extra, verify.Extra}} {
		if from.path == "" {
			continue
		}
		f, err := TrustFile(from.path, from.source)
		switch {
		case err != nil && !(from.source == verify.System && errors.Is(err, fs.ErrPermission)):
			return t, err
		case f != nil:
			t.Files = append(t.Files, *f)
		case from.source == verify.Extra:
			return t, fmt.Errorf("trust file %s: %w", extra, fs.ErrNotExist)
		}
	}
	return t, t.revoked(home, configHome)
}

func (t *Trust) revoked(home, configHome string) error {
	for path, source := range map[string]verify.Source{SystemRevoked: verify.System, OwnRevoked(home, configHome): verify.Own} {
		f, err := TrustFile(path, source)
		if err != nil {
			return err
		}
		if f != nil {
			t.Revoked = append(t.Revoked, verify.RevocationFile(*f))
		}
	}
	return nil
}
