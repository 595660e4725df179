package kinds

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// procText is a directory of /proc whose files hold what the test says.
type procText map[string]string

func (p procText) Read(name string) ([]byte, error) {
	if s, ok := p[name]; ok {
		return []byte(s), nil
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: unix.ENOENT}
}

func (p procText) Link(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.ENOENT}
}

// stateHost is a host on which thread, task or another site 7 is restored by root.
func stateHost(site plan.Site) *kind.Host {
	return &kind.Host{Self: plan.Ref{Site: site, ID: 7}, Kernel: "6.18.0", InTree: func(p kind.PID) bool { return p == 100 || p == 101 }}
}

// through dumps a site, sends the record through its encoding, and gives it
// back with its plan.
func through(t *testing.T, k kind.Kind, site any, asked ...plan.Result) (record any, steps []plan.Step) {
	t.Helper()
	if !k.Match(site) {
		t.Fatalf("%s does not match", k.Name())
	}
	if want := len(k.Ask(site)); want != len(asked) {
		t.Fatalf("%s asks %d calls, the test answers %d", k.Name(), want, len(asked))
	}
	body, err := k.Dump(nil, site, asked)
	if err != nil {
		t.Fatal(err)
	}
	record, err = k.Decode(k.Version(), body)
	if err != nil {
		t.Fatal(err)
	}
	return record, k.Plan(record, stateHost(k.Site()))
}

// refused insists that the site can't be saved, and that the reason names word.
func refused(t *testing.T, k kind.Kind, site any, word string, asked ...plan.Result) {
	t.Helper()
	if !k.Match(site) {
		t.Fatalf("%s does not match what it has to refuse", k.Name())
	}
	var no *kind.Unsupported
	_, err := k.Dump(nil, site, asked)
	if !errors.As(err, &no) || !strings.Contains(no.Why, word) {
		t.Errorf("%s: %v, want a refusal that names %q", k.Name(), err, word)
	}
}

// checks insists on what Check says about records.
func checks[R any](t *testing.T, k kind.Kind, good []R, bad map[string]R) {
	t.Helper()
	for i, r := range good {
		if err := k.Check(&r); err != nil {
			t.Errorf("good record %d: %v", i, err)
		}
	}
	for name, r := range bad {
		if k.Check(&r) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// golden compares a plan with its form in short text.
func golden(t *testing.T, steps []plan.Step, want ...string) {
	t.Helper()
	var got []string
	for _, s := range steps {
		line := s.Stage.String() + ":"
		for _, n := range s.Needs {
			line += " !" + n.Demand
		}
		for _, op := range s.Ops {
			line += " " + showCall(op.(plan.Call))
		}
		got = append(got, line)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("plan:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func showCall(c plan.Call) string {
	var args []string
	for _, a := range c.Args {
		args = append(args, showArg(a))
	}
	s := fmt.Sprintf("%s@%s(%s)", abi.SyscallName(c.Nr), c.In, strings.Join(args, ","))
	if c.Ret.Exact {
		s += fmt.Sprintf("=%d", c.Ret.Want)
	}
	if !c.Out.IsZero() {
		s += "->" + c.Out.String()
	}
	return s
}

func showArg(a plan.Arg) string {
	var s string
	switch a.Kind {
	case plan.ArgInt:
		return fmt.Sprint(int64(a.Val))
	case plan.ArgBuf:
		s = fmt.Sprintf("%q", a.Buf)
		if strings.Contains(s, `\x`) {
			s = fmt.Sprintf("%x", a.Buf)
		}
	case plan.ArgOut:
		s = fmt.Sprintf("out[%d]", len(a.Buf))
	case plan.ArgPID:
		return fmt.Sprintf("pid(%d)", a.Val)
	case plan.ArgClock:
		return fmt.Sprintf("clock(%d)%+d", a.Val, a.Delta)
	case plan.ArgNow:
		return fmt.Sprintf("now(%d)%+d", a.Val, a.Delta)
	default:
		return "{" + a.Ref.String() + "}"
	}
	for _, r := range a.Relocs {
		s += fmt.Sprintf("[%d:%d=%s]", r.Off, r.Size, showArg(r.Arg))
	}
	return s
}

func sampleTask() *kind.TaskSite {
	t := &kind.TaskSite{ID: 7, PID: 100, Comm: "job", Proc: procText{}, Stat: &abi.Stat{Pid: 100},
		Status: &abi.Status{Pid: 100, HasUmask: true, Umask: 0o22, HasMM: true, UntagMask: ^uint64(0)}}
	t.Threads = []*kind.ThreadSite{{ID: 7, TID: 100, Leader: true, Task: t, Proc: procText{},
		Stat: &abi.Stat{Pid: 100, Comm: "job"}, Status: &abi.Status{Pid: 100}}}
	return t
}

func sampleThread() *kind.ThreadSite { return sampleTask().Threads[0] }
