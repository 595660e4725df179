package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Capabilities of linux/capability.h.
const (
	capSysPtrace         = 19
	capSysAdmin          = 21
	capCheckpointRestore = 40
)

// notAllowed finds out which rule of ptrace(2), "Ptrace access mode checking",
// stands against tracing the tree.
func notAllowed(root int, err error) error {
	below, _ := kernelio.Descendants(root)
	for _, pid := range append([]int{root}, below...) {
		if why, hint := whyNot(pid); why != "" {
			return cli.WithHint(cli.Fail(cli.NotAllowed, "%s may not be traced: %s", processName(pid), why), hint, root)
		}
	}
	return cli.WithHint(cli.Fail(cli.NotAllowed, "%w", err),
		"a security module, a seccomp filter or another user namespace may forbid it; root of the initial namespace may dump process %d", root)
}

const asRoot = "sudo ckpt %d"

// whyNot is the rule that keeps us from tracing a process; "" if none is
// known. A hint has a place for the PID.
func whyNot(pid int) (why, hint string) {
	own, err := kernelio.OwnCredentials()
	if err != nil {
		return "", ""
	}
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return "", ""
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return "", ""
	}
	scope := yama()
	switch {
	case scope == 3:
		return "the kernel forbids all tracing until the next boot (kernel.yama.ptrace_scope is 3)", "reboot without that setting, for process %d"
	case own.Effective.Has(capSysPtrace):
		return "", ""
	case !only(st.UID, own.UID.Real) || !only(st.GID, own.GID.Real):
		return fmt.Sprintf("it runs as %s and you are %s, so it takes CAP_SYS_PTRACE", who(st.UID), userName(own.UID.Real)), asRoot
	case st.CapPrm&^own.Permitted != 0:
		return "it holds capabilities that you lack", asRoot
	case !dumpable(dir, st):
		return "it is not dumpable: it has read secrets or changed its user, and keeps others out (prctl(2), PR_SET_DUMPABLE)", asRoot
	case scope == 2:
		return "it takes CAP_SYS_PTRACE to trace any process (kernel.yama.ptrace_scope is 2)", asRoot
	case scope == 1:
		return "only its ancestors may trace it, and whom it named itself by prctl(PR_SET_PTRACER) (kernel.yama.ptrace_scope is 1)",
			asRoot + "; or let everybody trace their own again: sysctl kernel.yama.ptrace_scope=0"
	}
	return "", ""
}

func only(ids abi.IDs, id uint32) bool {
	return ids.Real == id && ids.Effective == id && ids.Saved == id
}

// dumpable: the files of a process that is not belong to root (proc(5)).
func dumpable(dir *kernelio.ProcDir, st *abi.Status) bool {
	f, err := dir.StatFile("status")
	return err != nil || f.UID == st.UID.Effective
}

// yama is kernel.yama.ptrace_scope, 0 where there is no such thing.
func yama() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func who(ids abi.IDs) string {
	if only(ids, ids.Real) {
		return userName(ids.Real)
	}
	return fmt.Sprintf("%s with the rights of %s", userName(ids.Real), userName(ids.Effective))
}

func userName(uid uint32) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return fmt.Sprintf("user %d", uid)
	}
	return fmt.Sprintf("user %s (%d)", u.Username, uid)
}
