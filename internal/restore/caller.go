package restore

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// FactsOfCaller reads who runs this program, and what a task that it makes
// is born with. The stub resets all signal actions to their defaults.
func FactsOfCaller() (kind.Caller, error) {
	dir, err := kernelio.OpenProc(kernelio.PID())
	if err != nil {
		return kind.Caller{}, err
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return kind.Caller{}, err
	}
	creds := kind.CredsOf(st)
	bits, err := kernelio.Prctl(unix.PR_GET_SECUREBITS)
	if err != nil {
		return kind.Caller{}, err
	}
	creds.Securebits = uint32(bits)
	elevated, err := kernelio.Elevated()
	if err != nil {
		return kind.Caller{}, err
	}
	c := kind.Caller{Creds: plain(creds, elevated), Born: kind.Born{Creds: creds}}
	if c.Limits, err = dir.Limits(); err != nil {
		return c, err
	}
	c.Born.Limits = c.Limits
	return c, bornFacts(dir, &c.Born)
}

// plain is what the caller had before the kernel started rstr with more: her
// real ids, and capabilities only if she is root.
func plain(c kind.Creds, elevated bool) kind.Creds {
	if !elevated {
		return c
	}
	u, g := c.UID.Real, c.GID.Real
	c.UID, c.GID = kind.UIDs{Real: u, Effective: u, Saved: u, FS: u}, kind.GIDs{Real: g, Effective: g, Saved: g, FS: g}
	if u != 0 {
		c.Caps.Permitted, c.Caps.Effective, c.Caps.Ambient = 0, 0, 0
	}
	return c
}

// bornFacts reads what a child inherits beside credentials and limits.
func bornFacts(dir *kernelio.ProcDir, b *kind.Born) error {
	stat, err := dir.Stat()
	if err != nil {
		return err
	}
	b.Nice = int32(stat.Nice)
	adj, err := dir.Read("oom_score_adj")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(string(adj), &b.OOMAdj); err != nil {
		return fmt.Errorf("own oom_score_adj: %w", err)
	}
	prio, err := kernelio.Syscall(unix.SYS_IOPRIO_GET, kernelio.Int(ioprioWhoProcess), kernelio.Int(0))
	if err != nil {
		return fmt.Errorf("own ioprio: %w", err)
	}
	b.IOPrio = uint16(prio)
	cpus := make([]byte, maxCPUs/8)
	n, err := kernelio.Syscall(unix.SYS_SCHED_GETAFFINITY, kernelio.Int(0), kernelio.Int(len(cpus)), kernelio.Buf(cpus))
	if err != nil {
		return fmt.Errorf("own CPU affinity: %w", err)
	}
	b.CPUs = cpus[:n]
	if label, err := dir.Read("attr/current"); err == nil {
		b.Label = strings.TrimRight(string(label), "\x00\n")
	}
	return nil
}

const (
	ioprioWhoProcess = 1    // IOPRIO_WHO_PROCESS, linux/ioprio.h
	maxCPUs          = 8192 // NR_CPUS of the largest configuration
)
