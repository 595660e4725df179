package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// tightAlone are plans that concern a whole process, which is nobody's from the start: what kernels say of it in /proc goes by that.
func tightAlone() map[string]tightNeed {
	return map[string]tightNeed{
		"a better oom score": {demand: "oom", cap: unix.CAP_SYS_RESOURCE, without: []unix.Errno{unix.EACCES},
			steps: func(h *kind.Host) []plan.Step { return oomRecord{Adj: h.Caller.Born.OOMAdj - 1}.plan(h) }},
		"shared memory": {demand: "map-files", cap: unix.CAP_CHECKPOINT_RESTORE,
			steps: func(h *kind.Host) []plan.Step { return shmemRecord{Size: 1 << 20}.plan(h) }},
		// This program can't unmap itself, so with the right it comes as far as to be told that.
		"another executable file": {demand: "file:inode 3:r exe-link", cap: unix.CAP_CHECKPOINT_RESTORE, with: unix.EBUSY, steps: otherProgram},
	}
}

func otherProgram(h *kind.Host) []plan.Step {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	s, err := abi.ParseStat(text)
	if err != nil {
		return nil
	}
	inode, mm := *h, *h
	inode.Self, mm.Self = plan.Ref{Site: plan.Inode, ID: 3}, plan.Ref{Site: plan.MM, ID: 1}
	r := mmRecord{Exe: 3, Code: span{s.StartCode, s.EndCode}, Data: span{s.StartData, s.EndData}, Brk: span{s.StartBrk, s.StartBrk}, Stack: s.StartStk,
		Arguments: span{s.ArgStart, s.ArgEnd}, Environ: span{s.EnvStart, s.EnvEnd}}
	steps := r.plan(&mm)
	set := steps[1].Ops[0].(plan.Call)
	set.Args[2].Relocs = set.Args[2].Relocs[1:] // no auxiliary vector, which takes no right
	binary.NativeEndian.PutUint32(set.Args[2].Buf[mmMapAuxvBytes:], 0)
	return append(regfileRecord{Path: []byte(program), View: true}.plan(&inode), steps...)
}

const aloneVariable = "CKPT_TEST_TIGHT"

// TestTightAlonePart is the process: it says what came of its plan, and what that demands.
func TestTightAlonePart(t *testing.T) {
	n, ok := tightAlone()[os.Getenv(aloneVariable)]
	if !ok {
		return
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	st, err := abi.ParseStatus(status)
	if err != nil {
		t.Fatal(err)
	}
	born := kind.CredsOf(st)
	h := &kind.Host{Self: plan.Ref{Site: plan.Inode, ID: 9}, Kernel: "6.18.0", InTree: func(kind.PID) bool { return true }}
	h.Caller.Creds, h.Caller.Born.Creds = born, born
	h.Caller.Creds.Caps = kind.CapSets{Bounding: born.Caps.Bounding}
	steps := n.steps(h)
	var errno unix.Errno
	if err := carryOut(steps); err != nil && !errors.As(err, &errno) {
		t.Fatal(err)
	}
	fmt.Printf("errno %d demands %s\n", errno, strings.Join(demanded(steps), " "))
}

// TestTightAlone is TestTightNeeds for these.
func TestTightAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can become others")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, n := range tightAlone() {
		t.Run(name, func(t *testing.T) {
			if !bounding().Has(uint(n.cap)) {
				t.Skipf("nobody on this machine has %s; a virtual machine has (test/kernel)", credmap.CapName(uint(n.cap)))
			}
			without := n.without
			if without == nil {
				without = []unix.Errno{unix.EPERM}
			}
			if errno, _ := aloneWith(t, program, name); !slices.Contains(without, errno) {
				t.Errorf("without %s: %v", credmap.CapName(uint(n.cap)), errno)
			}
			errno, demands := aloneWith(t, program, name, uintptr(n.cap))
			if errno != n.with || demands != n.demand {
				t.Errorf("with %s: %v; it demands %s", credmap.CapName(uint(n.cap)), errno, demands)
			}
		})
	}
}

// aloneWith runs the process with capabilities and nothing else.
func aloneWith(t *testing.T, program, name string, caps ...uintptr) (errno unix.Errno, demands string) {
	t.Helper()
	c := exec.Command(program, "-test.run=^TestTightAlonePart$")
	c.Env, c.Dir = []string{aloneVariable + "=" + name}, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID, Groups: []uint32{nobodyID}}, AmbientCaps: caps}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	number, demands, ok := strings.Cut(strings.TrimPrefix(line, "errno "), " demands ")
	var n int
	if _, err := fmt.Sscan(number, &n); !ok || err != nil {
		t.Fatalf("it says %s", out)
	}
	return unix.Errno(n), demands
}
