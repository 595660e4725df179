package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/ckptool/ckpt/pkg/verify"
)

// NameFile is where the administrator says what images may call this host: a name
// a line, # starts a comment. A name can be anything that others know the host by,
// such as the fingerprint of a key in its TPM.
const NameFile = "/etc/ckpt/host"

// maxNames is how many an administrator may need.
const maxNames = 64

// Names are what an image may call this host by its audience: those that root wrote
// down, then its machine id, and nothing that others could choose (a host name, say).
func Names() ([]string, error) {
	names, err := GivenNames()
	if err != nil {
		return nil, err
	}
	if id := MachineID(); id != "" && !slices.Contains(names, id) {
		names = append(names, id)
	}
	return names, nil
}

// GivenNames are the ones that root wrote down. A file that somebody else could
// have written is an error: what it says may be what an image asks for.
func GivenNames() ([]string, error) {
	names, err := namesIn(NameFile, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil // a caller who may not know them is not for whom they grant
	}
	if err != nil {
		return nil, fmt.Errorf("names of this host: %w", err)
	}
	return names, nil
}

// namesIn reads a file that must be owner's, or not be there.
func namesIn(path string, owner uint32) ([]string, error) {
	t, err := TrustFile(path, verify.System)
	switch {
	case err != nil || t == nil:
		return nil, err
	case t.OwnerUID != owner || t.Mode&0o022 != 0 || t.WritableByOthers:
		return nil, fmt.Errorf("%s: %w: somebody else than uid %d could have written it", path, verify.ErrTrustFile, owner)
	}
	var names []string
	for line := range strings.Lines(string(t.Bytes)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) > 1 || len(words[0]) > 255:
			return nil, fmt.Errorf("%s: %w: %.40q is not one name", path, verify.ErrTrustFile, line)
		default:
			names = append(names, words[0])
		}
	}
	if len(names) > maxNames {
		return nil, fmt.Errorf("%s: %w: %d names", path, verify.ErrTrustFile, len(names))
	}
	return names, nil
}
