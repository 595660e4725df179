package restore

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

const procDir = "/proc/"

// procOf finds the task of the tree below whose directory of /proc a path
// leads, and the rest of the path.
func (c *content) procOf(path []byte) (pid kind.PID, rest []byte, ok bool) {
	below, is := bytes.CutPrefix(path, []byte(procDir))
	if !is {
		return 0, nil, false
	}
	rest = bytes.TrimLeft(below, "0123456789")
	n, err := strconv.ParseInt(string(below[:len(below)-len(rest)]), 10, 32)
	if err != nil || !c.byPID[kind.PID(n)] {
		return 0, nil, false
	}
	return kind.PID(n), rest, true
}

// renamed puts the number that a task has into paths below its directory of
// /proc. A task below task/ is one of the same process.
func (s *session) renamed(args []plan.Arg) []plan.Arg {
	if s.numbers == nil {
		return args
	}
	out := append([]plan.Arg(nil), args...)
	for i := range out {
		if out[i].Kind != plan.ArgBuf || len(out[i].Relocs) > 0 {
			continue
		}
		out[i].Buf = s.renamedPath(out[i].Buf)
	}
	return out
}

func (s *session) renamedPath(path []byte) []byte {
	pid, rest, ok := s.procOf(path)
	if !ok {
		return path
	}
	below, isTask := bytes.CutPrefix(rest, []byte("/task/"))
	if tid, more, ok := s.procOf(append([]byte(procDir), below...)); isTask && ok {
		rest = fmt.Appendf(nil, "/task/%d%s", s.number(tid), more)
	}
	return fmt.Appendf(nil, "%s%d%s", procDir, s.number(pid), rest)
}
