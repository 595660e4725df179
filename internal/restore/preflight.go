package restore

import (
	"encoding/binary"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// Taken is a number that the tree needs and somebody else has.
type Taken struct {
	PID  int
	Comm string // of the program that has it; empty if it is gone meanwhile
	UID  uint32
}

// TakenError says that the tree's numbers are not free.
type TakenError struct{ PIDs []Taken }

func (e *TakenError) Error() string {
	var s []string
	for i, t := range e.PIDs {
		if i == 5 {
			s = append(s, fmt.Sprintf("and %d more", len(e.PIDs)-i))
			break
		}
		who := "a program that is gone by now"
		if t.Comm != "" {
			who = fmt.Sprintf("%+q of user %d", t.Comm, t.UID)
		}
		s = append(s, fmt.Sprintf("PID %d is in use by %s", t.PID, who))
	}
	return strings.Join(s, "; ")
}

func takenBy(pid int) Taken {
	t := Taken{PID: pid}
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return t
	}
	defer dir.Close()
	if st, err := dir.Status(); err == nil {
		t.Comm, t.UID = st.Name, st.UID.Real
	}
	return t
}

// HostError says that this host is not like the one of the dump in a way
// that the tree would notice.
type HostError struct{ What string }

func (e *HostError) Error() string { return e.What }

// preflight finds out, without creating anything, what keeps this host from
// taking the tree.
func (p *prospect) preflight() []error {
	var out []error
	for _, look := range []func() error{p.checkArch, p.checkCPU, p.checkNumbers} {
		if err := look(); err != nil {
			out = append(out, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		if err := p.files[name].err; err != nil {
			out = append(out, err)
		}
	}
	return out
}

func (c *content) checkArch() error {
	if h := &c.manifest.Header; h.Arch != runtime.GOARCH {
		return &HostError{fmt.Sprintf("the image is of a %+q machine, this one is %s", h.Arch, runtime.GOARCH)}
	}
	return nil
}

func (c *content) checkCPU() error {
	missing, err := missingFeatures(c.manifest.Header.CPU)
	if err == nil && len(missing) > 0 {
		err = &HostError{"this CPU lacks " + strings.Join(missing, ", ") + ", which the dumped programs may use"}
	}
	return err
}

// checkNumbers looks whether the tree's PIDs are free. Threads count: a TID
// is a PID to the kernel.
func (p *prospect) checkNumbers() error {
	if p.route.renumbers() || p.route == Namespace && !p.inside {
		return nil
	}
	var e TakenError
	for _, pid := range p.manifest.PIDs {
		if kernelio.TaskExists(int(pid)) {
			e.PIDs = append(e.PIDs, takenBy(int(pid)))
		}
	}
	if len(e.PIDs) > 0 {
		return &e
	}
	return nil
}

// checkXState looks whether this host's kernel saves all extended registers
// that the threads of the tree have.
func (s *session) checkXState() error {
	x, err := s.stub.Thread.XState()
	if err != nil {
		return err
	}
	want := s.manifest.Header.Xstate.Features
	if len(x) < 472 || want&^binary.LittleEndian.Uint64(x[464:]) != 0 {
		return &HostError{fmt.Sprintf("this host lacks extended registers that the tree has (XCR0 of the dump: %#x)", want)}
	}
	return nil
}

func missingFeatures(want []string) ([]string, error) {
	have := map[string]bool{}
	features, err := kernelio.CPUFeatures()
	for _, f := range features {
		have[f] = true
	}
	var out []string
	for _, f := range want {
		if !have[f] {
			out = append(out, f)
		}
	}
	return out, err
}
