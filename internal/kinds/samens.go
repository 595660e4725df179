package kinds

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type sameNSRecord struct {
	Type string `cbor:"1,keyasint"` // as in /proc/PID/ns
}

// SameNamespace is responsible for namespaces. Those that the tool lives in
// as well are joined by being made there; all others are refused.
func SameNamespace() kind.Kind {
	return kind.New(kind.Spec[*kind.NamespaceSite, sameNSRecord]{
		Name:   "samens",
		At:     plan.Namespace,
		Claims: true,
		Dump: func(_ kind.Dump, n *kind.NamespaceSite, _ []plan.Result) (sameNSRecord, error) {
			if !n.Own {
				return sameNSRecord{}, foreignNamespace(n)
			}
			return sameNSRecord{n.Type}, nil
		},
		Check: sameNSRecord.check,
		Plan:  func(sameNSRecord, *kind.Host) []plan.Step { return nil },
	})
}

// namespaceTypes are the names in /proc/PID/ns as of Linux 6.18. The two
// "for_children" are where the next child would be, after unshare(2).
var namespaceTypes = []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children",
	"time", "time_for_children", "user", "uts"}

func foreignNamespace(n *kind.NamespaceSite) error {
	return &kind.Unsupported{
		Why:  fmt.Sprintf("it is in a %s namespace of its own", n.Type),
		Hint: fmt.Sprintf("run ckpt inside of it: nsenter -t %d -a ckpt ...", n.Task.PID),
	}
}

func (r sameNSRecord) check() error {
	if !slices.Contains(namespaceTypes, r.Type) {
		return fmt.Errorf("no type of namespace: %q", r.Type)
	}
	return nil
}
