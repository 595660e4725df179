package dump

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Target is a thread of the tree, as who decides on its dump must know it: by
// the kernel's word.
type Target struct {
	PID     int // of its process
	UID     abi.IDs
	GID     abi.IDs
	Caps    abi.CapSet // permitted
	Program string     // the path of its executable; with " (deleted)" if it is gone
}

// Targets are the threads of a process, those with the same rights once.
func Targets(pid int) ([]Target, error) {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	tids, err := dir.Threads()
	if err != nil {
		return nil, err
	}
	program, err := dir.Link("exe")
	if err != nil {
		return nil, err
	}
	var out []Target
	seen := map[Target]bool{}
	for _, tid := range tids {
		st, err := dir.ThreadStatus(tid)
		if err != nil {
			return nil, err
		}
		t := Target{PID: pid, UID: st.UID, GID: st.GID, Caps: st.CapPrm, Program: program}
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out, nil
}

// judge asks whether the tree may be dumped, now that it is frozen and nothing
// of what is judged can change any more.
func (s *session) judge(ask func([]Target) error) error {
	if _, err := s.whole(); err != nil {
		return err
	}
	var all []Target
	for _, p := range s.procs {
		if p.zombie {
			continue
		}
		some, err := Targets(p.pid)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
		all = append(all, some...)
	}
	return ask(all)
}
