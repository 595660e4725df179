package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Spool holds images that their callers may have made and restored, and not
// read: those of processes with more rights than theirs. It is root's alone.
const Spool = "/var/lib/ckpt/spool"

// SpoolPrefix begins what an image in the spool is called on a command line.
const SpoolPrefix = "spool:"

// spooledBy takes the caller out of a name: its user id and the image's own.
func spooledBy(name string) (caller uint32, ok bool) {
	text, id, _ := strings.Cut(name, "-")
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != text || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return 0, false
	}
	return uint32(n), true
}

// Spooled names a new image of a caller's in the spool, and makes the spool.
func Spooled(caller uint32, id [16]byte) (name, path string, err error) {
	if err := os.MkdirAll(Spool, 0o700); err != nil {
		return "", "", err
	}
	st, err := os.Lstat(Spool)
	if err != nil {
		return "", "", err
	}
	dir, err := kernelio.OpenPath(Spool, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return "", "", err
	}
	defer dir.Close()
	if own, err := kernelio.Fstat(dir.Int()); err != nil || own.UID != 0 || st.Mode().Perm()&0o077 != 0 {
		return "", "", errors.Join(err, fmt.Errorf("%s is not root's alone", Spool))
	}
	name = fmt.Sprintf("%d-%x", caller, id)
	return SpoolPrefix + name, filepath.Join(Spool, name), nil
}

// OpenSpooled opens an image in the spool for who had it made, or for root. It
// takes root's authority.
func OpenSpooled(name string, caller uint32) (*os.File, int64, error) {
	by, ok := spooledBy(name)
	if !ok {
		return nil, 0, fmt.Errorf("%s%+q is no name of an image in the spool", SpoolPrefix, name)
	}
	if caller != 0 && by != caller {
		return nil, 0, fmt.Errorf("%s%s: %w: somebody else had it made", SpoolPrefix, name, os.ErrPermission)
	}
	fd, err := kernelio.OpenPath(filepath.Join(Spool, name), unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, 0, err
	}
	f := os.NewFile(uintptr(fd.Take()), SpoolPrefix+name)
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s%s is not a regular file", SpoolPrefix, name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}
