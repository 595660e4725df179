package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/policy"
)

// absent is what a file held that is not there.
const absent = "absent"

// Input says what a file holds that programs read which the administrator lets
// people pause: the digest of its content. That means something only where nobody
// but root can change it, on a file system of this host's; anything else is an
// error.
func Input(path string) (string, error) {
	is, err := input(path)
	if err != nil {
		return "", fmt.Errorf("input %s: %w", path, err)
	}
	return is, nil
}

func input(path string) (string, error) {
	fd, err := kernelio.OpenBeneath(unix.AT_FDCWD, path, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, unix.ENOENT) {
		return absent, nil
	}
	if err != nil {
		return "", err
	}
	defer fd.Close()
	st, err := kernelio.Fstat(fd.Int())
	if err != nil {
		return "", err
	}
	others, err := replaceable(path, 0)
	switch {
	case err != nil:
		return "", err
	case st.Type() != unix.S_IFREG:
		return "", errors.New("it is not a regular file")
	case st.UID != 0 || st.Mode&0o022 != 0 || others:
		return "", errors.New("somebody else than root could write it")
	case remote(st.FSType):
		return "", errors.New("it lies on a file system that is not this host's alone")
	}
	sum, err := kernelio.ContentDigest(fd.Int())
	return fmt.Sprintf("sha256:%x", sum), err
}

// remote knows the file systems whose files somebody else serves.
func remote(fstype uint32) bool {
	switch fstype {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return true
	}
	return false
}

// Inputs says of files whether they hold what they did.
func Inputs(were map[string]string) []policy.Input {
	var out []policy.Input
	for _, path := range slices.Sorted(maps.Keys(were)) {
		is, err := Input(path)
		out = append(out, policy.Input{Path: path, Same: err == nil && is == were[path]})
	}
	return out
}
