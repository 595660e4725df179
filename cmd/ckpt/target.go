package main

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// mayDump refuses what makes no sense to freeze, each with its own words. The
// kernel has the last word, when the tree is seized.
func mayDump(pid int) error {
	dir, err := kernelio.OpenProc(pid)
	if kernelio.IsGone(err) {
		return noProcess(pid)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return err
	}
	stat, err := dir.Stat()
	switch {
	case err != nil:
		return err
	case int(st.Tgid) != pid:
		return cli.WithHint(cli.Fail(cli.NoProcess, "%d is a thread of process %d (%s), not a process", pid, st.Tgid, st.Name), "ckpt %d", st.Tgid)
	case stat.Flags&abi.PFKthread != 0:
		return cli.Fail(cli.NotAllowed, "%d (%s) is a thread of the kernel", pid, st.Name)
	case st.State == 'Z' && stat.Threads <= 1: // or else another thread is calling execve(2)
		return cli.Fail(cli.NoProcess, "process %d (%s) is dead: a zombie that %s has not waited for", pid, st.Name, processName(int(st.PPid)))
	case st.Tracer != 0:
		return tracedBy(pid, int(st.Tracer))
	}
	return notOneself(pid)
}

func noProcess(pid int) error { return cli.Fail(cli.NoProcess, "there is no process %d", pid) }

// tracedBy: the kernel names the thread that traces.
func tracedBy(pid, tracer int) error {
	tracer = processOf(tracer)
	return cli.WithHint(cli.Fail(cli.NotAllowed, "task %d is being traced by %s, and a task can have only one tracer", pid, processName(tracer)),
		"let the tracer detach, or end it: kill %d", tracer)
}

// notOneself refuses this program and what it descends from.
func notOneself(pid int) error {
	if pid == kernelio.PID() {
		return cli.Fail(cli.NotAllowed, "process %d is ckpt itself", pid)
	}
	for p := kernelio.PID(); p > 0; {
		st := statOf(p)
		if st == nil {
			return nil
		}
		if p = int(st.PPid); p == pid {
			return cli.WithHint(cli.Fail(cli.NotAllowed, "%s is an ancestor of ckpt, which would freeze itself with it", processName(pid)),
				"setsid does not help: run ckpt from another terminal or service")
		}
	}
	return nil
}

func statOf(pid int) *abi.Stat {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return nil
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return nil
	}
	return st
}

// processOf is the process that a thread belongs to.
func processOf(tid int) int {
	dir, err := kernelio.OpenProc(tid)
	if err != nil {
		return tid
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return tid
	}
	return int(st.Tgid)
}

// processName is how messages speak of a process.
func processName(pid int) string {
	if pid == 0 {
		return "a process outside of this PID namespace"
	}
	if st := statOf(pid); st != nil {
		return fmt.Sprintf("process %d (%s)", pid, st.Comm)
	}
	return fmt.Sprintf("process %d", pid)
}
