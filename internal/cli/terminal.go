package cli

import "golang.org/x/term"

// IsTerminal says whether a descriptor is one.
func IsTerminal(fd int) bool { return term.IsTerminal(fd) }
