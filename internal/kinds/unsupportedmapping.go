package kinds

import (
	"fmt"
	"strings"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// UnsupportedMapping claims the mappings that are neither memory nor file nor
// among the kernel's own that ckpt knows, such as [uprobes].
func UnsupportedMapping() kind.Kind {
	return claimingRefusal("unsupportedmapping", plan.Mapping, maps(mapUnsupported), whyMapping)
}

func whyMapping(m *kind.MappingSite) string {
	if strings.HasPrefix(m.VMA.Path, "/SYSV") { // the first segment of a system has inode 0
		return sysvWords
	}
	return fmt.Sprintf("a mapping of a sort that ckpt does not know: %+q (VmFlags %v)", m.VMA.Path, m.VMA.Flags)
}
