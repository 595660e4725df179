package dump

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/calls"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// held resolves names while kinds look at a frozen tree: the descriptors
// that the tool holds, and PIDs as they are.
type held map[plan.Ref]int

func (h held) FD(r plan.Ref) (int, error) {
	fd, ok := h[r]
	if !ok {
		return 0, fmt.Errorf("the tool holds no descriptor of %s", r)
	}
	return fd, nil
}

func (h held) Result(r plan.Ref) (int64, error) {
	return 0, fmt.Errorf("%s names no result during a dump", r)
}

func (h held) PID(recorded int32) (int, error) { return int(recorded), nil }

// doer executes calls in the tool for a kind that looks at an object.
func (s *session) doer(h held) kind.Doer {
	return func(c plan.Call) (plan.Result, error) { return calls.Tool(c, h) }
}

// inodeDoer uses the descriptor that the inode has at the time of the call,
// since a better one may come.
func (s *session) inodeDoer(in *inode) kind.Doer {
	return func(c plan.Call) (plan.Result, error) {
		if in.fd == noFD {
			return calls.Tool(c, held{})
		}
		return calls.Tool(c, held{in.site.Ref().Main(): in.fd})
	}
}
