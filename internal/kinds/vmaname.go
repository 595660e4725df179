package kinds

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type vmanameRecord struct {
	span
	Name string `cbor:"3,keyasint"`
}

// VMAName contributes the name that a program gave to anonymous memory
// (PR_SET_VMA_ANON_NAME), as maps shows it: [anon:NAME], or [anon_shmem:NAME]
// where it is shared. A kernel without CONFIG_ANON_VMA_NAME has no names
// (EINVAL), and there nothing is lost that anybody could see.
func VMAName() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, vmanameRecord]{
		Name:  "vmaname",
		At:    plan.Mapping,
		Match: func(m *kind.MappingSite) bool { return ordinary(m) && vmaName(m.VMA.Path) != "" },
		Dump: func(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (vmanameRecord, error) {
			return vmanameRecord{spanOf(&m.VMA), vmaName(m.VMA.Path)}, nil
		},
		Check: vmanameRecord.check,
		Plan:  vmanameRecord.plan,
	})
}

func vmaName(path string) string {
	for _, prefix := range []string{"[anon:", "[anon_shmem:"} {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			return strings.TrimSuffix(name, "]")
		}
	}
	return ""
}

// check accepts the names that the kernel does: printable ASCII without the
// characters that would confuse a reader of maps, ANON_VMA_NAME_MAX_LEN of 80
// with the final NUL (is_valid_name_char in mm/madvise.c).
func (r vmanameRecord) check() error {
	if r.Name == "" || len(r.Name) >= 80 {
		return fmt.Errorf("a name of %d bytes", len(r.Name))
	}
	for _, c := range []byte(r.Name) {
		if c < 0x20 || c > 0x7e || strings.IndexByte("\\`$[]", c) >= 0 {
			return fmt.Errorf("the name %+q", r.Name)
		}
	}
	return r.span.check()
}

func (r vmanameRecord) plan(h *kind.Host) []plan.Step {
	name := prctlIn(h, unix.PR_SET_VMA, plan.Int(unix.PR_SET_VMA_ANON_NAME), plan.Int(r.Start), plan.Int(r.len()), plan.Str(r.Name))
	name.Ret = plan.Ret{Tolerate: []uint16{uint16(unix.EINVAL)}}
	return oneStep(plan.Connect, fmt.Sprintf("name %v %q", r.span, r.Name), name)
}
