package image

import (
	"os"

	"golang.org/x/sys/unix"
)

// unlinked makes a file that never has a name; with O_EXCL it can never get one
// (open(2), O_TMPFILE). Not every file system can.
func unlinked(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|os.O_EXCL|unix.O_TMPFILE, 0o600)
	if err != nil {
		return named(dir)
	}
	return f, nil
}
