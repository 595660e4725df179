package kinds

import (
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
)

// mapClass sorts mappings by who claims them.
type mapClass uint8

const (
	mapUnsupported mapClass = iota
	mapAnon
	mapFile
	mapSpecial
)

// maps makes the Match of a kind that claims one class.
func maps(c mapClass) func(*kind.MappingSite) bool {
	return func(m *kind.MappingSite) bool { return mapClassOf(m) == c }
}

// ordinary are the mappings that may be advised, locked, named or sealed:
// all but the kernel's own.
func ordinary(m *kind.MappingSite) bool {
	c := mapClassOf(m)
	return c == mapAnon || c == mapFile
}

func mapClassOf(m *kind.MappingSite) mapClass {
	switch {
	case m.Inode != nil:
		return mapFile
	case isSpecial(m.VMA.Path):
		return mapSpecial
	case m.VMA.Inode == 0 && !m.VMA.Shared && isAnonName(m.VMA.Path):
		return mapAnon
	}
	return mapUnsupported
}

// isAnonName knows the names that the kernel gives to anonymous memory
// (get_vma_name in fs/proc/task_mmu.c).
func isAnonName(path string) bool {
	return path == "" || path == "[heap]" || path == "[stack]" || strings.HasPrefix(path, "[anon:")
}
