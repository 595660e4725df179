package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// spying is rstr with kinds that tell, at the moment when a record is
// decoded, which credentials each thread of rstr has. Its plan needs what the
// record says.
func spying() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, spies()))
}

type (
	empty  struct{}
	wishes struct {
		Demands []string `cbor:"1,keyasint,omitempty"`
	}
)

func spies() kind.Table {
	return kind.Table{
		kind.New(kind.Spec[*kind.TaskSite, wishes]{Name: "task", At: plan.Task, Claims: true, Check: tell, Plan: wish}),
		dull[*kind.ThreadSite]("thread", plan.Thread),
		dull[*kind.MMSite]("mm", plan.MM),
		dull[*kind.FSSite]("fs", plan.FS),
		dull[*kind.SigHandSite]("sighand", plan.SigHand),
	}
}

func dull[S any](name string, at plan.Site) kind.Kind {
	return kind.New(kind.Spec[S, empty]{Name: name, At: at, Claims: true, Plan: func(empty, *kind.Host) []plan.Step { return nil }})
}

func wish(w wishes, _ *kind.Host) []plan.Step {
	s := plan.Step{Stage: plan.Settle, Text: "wish", Ops: []plan.Op{plan.Call{}}}
	for _, d := range w.Demands {
		s.Needs = append(s.Needs, plan.Need{Demand: d, Why: "it wishes"})
	}
	return []plan.Step{s}
}

// tell is the check of a record, a part of its decoding. Lines come in any
// number and order.
func tell(wishes) error {
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		line := "thread"
		for field := range strings.Lines(string(text)) {
			switch name, value, _ := strings.Cut(field, ":"); name {
			case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb":
				line += " " + name + "=" + strings.Join(strings.Fields(value), ",")
			case "Umask":
				fmt.Println("umask", strings.TrimSpace(value))
			}
		}
		fmt.Println(line)
	}
	dir, _ := os.Getwd()
	fmt.Println("directory", dir)
	fmt.Println("environment", os.Environ())
	fmt.Println("zone", time.Now().Location())
	for _, which := range []unix.ItimerWhich{unix.ITIMER_REAL, unix.ITIMER_VIRTUAL, unix.ITIMER_PROF} {
		it, err := unix.Getitimer(which)
		fmt.Println("timer", which, it.Value.Sec+it.Value.Usec, err)
	}
	tellFDs()
	return err
}

// tellFDs tells of descriptors beside the standard ones, but for the runtime's.
func tellFDs() {
	fds, _ := kernelio.OpenFDs()
	for n, link := range fds {
		if n > 2 && !strings.HasPrefix(link, "anon_inode:[event") && !strings.HasPrefix(link, "/proc/") {
			fmt.Println("descriptor", link)
		}
	}
}

// wishing writes an unsigned image of one process that asks for all that the
// demands say.
func wishing(t *testing.T, path string, demands ...string) {
	t.Helper()
	written(t, path, image.Header{Class: image.ClassSelf, Created: 1700000000, Arch: "amd64"}, nil, demands...)
}

// written is wishing with a header and signatures.
func written(t *testing.T, path string, h image.Header, sign func([]byte) ([][]byte, error), demands ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := image.NewWriter(f, image.Options{})
	xstate := image.Extents{{Off: 0, Len: 4096}}
	if _, err := w.Blob(strings.NewReader(strings.Repeat("\x00", 4096)), xstate); err != nil {
		t.Fatal(err)
	}
	regs := make([]uint64, abi.SizeofRegs/8)
	regs[17] = abi.CS64
	const pid = 4194000 // beyond most hosts' pid_max, so that nobody has it
	tree, err := image.Marshal(&kind.Tree{XState: 1, MMs: []kind.MMNode{{ID: 1}}, FDTables: []kind.FDTableNode{{ID: 1}},
		Tasks: []kind.TaskNode{{ID: 1, PID: pid, Group: pid, Session: pid, Comm: []byte("spied"), MM: 1, FDTable: 1, FS: 1, SigHand: 1, ExitSignal: 17,
			Threads: []kind.ThreadNode{{ID: 1, TID: pid, Regs: regs, XStateLen: 4096}}}}})
	if err != nil {
		t.Fatal(err)
	}
	m := &image.Manifest{Header: h, PIDs: image.PIDs{pid}, Tree: tree}
	for _, r := range []struct {
		at   plan.Site
		kind string
		body any
	}{{plan.Task, "task", wishes{demands}}, {plan.Thread, "thread", empty{}}, {plan.MM, "mm", empty{}}, {plan.FS, "fs", empty{}}, {plan.SigHand, "sighand", empty{}}} {
		b, err := image.Marshal(r.body)
		if err != nil {
			t.Fatal(err)
		}
		m.Records = append(m.Records, image.Record{Site: uint8(r.at), ID: 1, Kind: r.kind, Version: 1, Body: b})
	}
	if err := w.Close(m, sign); err != nil {
		t.Fatal(err)
	}
}
