//go:build !linux

package image

import "os"

// unlinked makes a file without a name.
func unlinked(dir string) (*os.File, error) { return named(dir) }
