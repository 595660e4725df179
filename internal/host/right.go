package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// Right is something that the caller may or may not do on this host, as trying
// showed.
type Right struct {
	Name   string `json:"name"`
	Answer Answer `json:"answer"`
	What   string `json:"what"`
	Why    string `json:"why,omitempty"`  // what trying said
	More   string `json:"more,omitempty"` // what to do to get it
}

// Rights tries out what the caller may do: to dump, then to restore. rstr is
// the path of the program that would restore; empty if it is not known.
func Rights(rstr string) []Right {
	rights := []Right{dumpOwn(), dumpOthers(), mapFiles(), filters(), handles()}
	return append(rights, routes(rstr)...)
}

// said is a Right with what trying it said.
func said(r Right, a Answer, err error) Right {
	r.Answer = a
	if err != nil && a != Yes {
		r.Why = err.Error()
	}
	if a == Yes {
		r.More = ""
	}
	return r
}

// Yama is kernel.yama.ptrace_scope (Documentation/admin-guide/LSM/Yama.rst), 0
// where there is no such thing.
func Yama() int {
	n, err := number("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	return n
}

// number reads a setting.
func number(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// dumpOwn looks whether the caller may trace processes of her own that are not
// below her, as a program that she started earlier is not below ckpt.
func dumpOwn() Right {
	r := Right{Name: "dump-own", What: "dump your own processes"}
	switch Yama() {
	case 1:
		r.More = "sysctl kernel.yama.ptrace_scope=0; or let the program allow it: prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)"
	case 2:
		r.More = "sysctl kernel.yama.ptrace_scope=0; now it takes CAP_SYS_PTRACE even for your own"
	case 3:
		r.More = "reboot without kernel.yama.ptrace_scope=3, which can't be taken back"
	}
	pid := candidate(true)
	if pid == 0 {
		r.Why = "you have no other process to try it with"
		if Yama() == 0 {
			r.Answer, r.Why = Yes, ""
		}
		return r
	}
	a, err := permitted(kernelio.TryReadMemory(pid))
	return said(r, a, err)
}

func dumpOthers() Right {
	r := Right{Name: "dump-others", What: "dump other users' processes", More: "run ckpt as root (it takes CAP_SYS_PTRACE)"}
	pid := candidate(false)
	if pid == 0 {
		r.Why = "there is no process of anybody else to try it with"
		return r
	}
	a, err := permitted(kernelio.TryReadMemory(pid))
	return said(r, a, err)
}

// candidate is a process that has memory and whose user the caller is, or is
// not; neither the caller nor above nor below her. 0: there is none.
func candidate(own bool) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	best := 0
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == kernelio.PID() {
			continue
		}
		if suits(pid, own) {
			best = pid // the youngest: the first ones of a system are special
		}
	}
	return best
}

func suits(pid int, own bool) bool {
	p, err := kernelio.OpenProc(pid)
	if err != nil {
		return false
	}
	defer p.Close()
	st, err := p.Status()
	if err != nil || st.State == 'Z' || int(st.PPid) == kernelio.PID() {
		return false
	}
	stat, err := p.Stat()
	if err != nil || stat.Flags&abi.PFKthread != 0 {
		return false
	}
	me := uint32(os.Getuid())
	if !own {
		return st.UID.Real != me
	}
	file, err := p.StatFile("status")
	mine, e := ownStatus()
	return err == nil && e == nil && st.UID == abi.IDs{Real: me, Effective: me, Saved: me, FS: me} && file.UID == me &&
		st.CapPrm&^mine.CapPrm == 0
}

func mapFiles() Right {
	a, err := permitted(kernelio.TryMapFiles())
	return said(Right{Name: "map-files", What: "follow the links of map_files",
		More: "setcap cap_checkpoint_restore=ep on ckpt; without it mapped files are found by their paths, or saved as the program sees them"}, a, err)
}

func filters() Right {
	r := Right{Name: "seccomp", What: "read seccomp filters", More: "run ckpt as root (it takes CAP_SYS_ADMIN)"}
	a, err := traced(kernelio.TraceFilter, unix.EACCES)()
	return said(r, a, err)
}

func handles() Right {
	a, err := permitted(kernelio.TryFileHandle())
	return said(Right{Name: "inotify", What: "find what inotify watches", More: "run ckpt as root (it takes CAP_DAC_READ_SEARCH)"}, a, err)
}

// routes are the ways to the PIDs of an image, in the order in which rstr tries
// them, and what else a restore may want.
func routes(rstr string) []Right {
	lend := "setcap cap_checkpoint_restore=ep on rstr"
	if rstr != "" {
		lend = "setcap cap_checkpoint_restore=ep " + rstr
	}
	tid, tidErr := answered(kernelio.TrySetTID(), unix.EPERM, unix.ENOSYS, unix.E2BIG)
	last, lastErr := answered(kernelio.TryLastPID(), unix.EPERM, unix.EACCES, unix.EROFS, fs.ErrNotExist)
	exe, exeErr := permitted(kernelio.TryExeLink())
	return []Right{
		said(Right{Name: "pids-clone3", What: "restore at the same PIDs, by clone3", More: lend}, tid, tidErr),
		said(Right{Name: "pids-last-pid", What: "restore at the same PIDs, by ns_last_pid", More: lend}, last, lastErr),
		lent(rstr, lend),
		namespaces(),
		mountProc(),
		{Name: "no-pids", Answer: Yes, What: "restore with other PIDs (--no-pids)"},
		cycle(),
		said(Right{Name: "exe-link", What: "set the link /proc/PID/exe",
			More: "rstr executes the file instead, which does for all but programs that share memory or descriptors with another one; else: " + lend}, exe, exeErr),
	}
}

// lent looks whether the installed rstr lends the capability to its callers.
func lent(rstr, more string) Right {
	r := Right{Name: "pids-lent", What: "restore at the same PIDs, with what the installed rstr lends you", More: more}
	if rstr == "" {
		r.Why = "there is no rstr beside this program"
		return r
	}
	caps, effective, err := kernelio.FileCaps(rstr)
	if err != nil {
		return said(r, Unknown, err)
	}
	heeded, err := kernelio.HonoursSetID(rstr)
	switch {
	case err != nil:
		return said(r, Unknown, err)
	case !caps.Has(unix.CAP_CHECKPOINT_RESTORE) || !effective:
		return said(r, No, fmt.Errorf("%s has no such file capability", rstr))
	case !heeded:
		r.More = "mount its filesystem without nosuid, and run it without no_new_privs"
		return said(r, No, fmt.Errorf("the kernel does not heed the file capability of %s here", rstr))
	}
	return said(r, Yes, nil)
}

func namespaces() Right {
	r := Right{Name: "pidns", What: "restore in a PID namespace of its own (--pidns)", More: "let users make user namespaces: sysctl user.max_user_namespaces=10000"}
	for setting, wrong := range map[string]int{"kernel.unprivileged_userns_clone": 0, "kernel.apparmor_restrict_unprivileged_userns": 1} {
		if n, err := number("/proc/sys/" + strings.ReplaceAll(setting, ".", "/")); err == nil && n == wrong {
			r.More = fmt.Sprintf("sysctl %s=%d", setting, 1-wrong)
		}
	}
	a, err := answered(kernelio.TryNamespaces(unix.CLONE_NEWPID), unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EINVAL, unix.EUSERS)
	return said(r, a, err)
}

func mountProc() Right {
	a, err := permitted(kernelio.TryMountProc())
	return said(Right{Name: "pidns-proc", What: "have a /proc in there",
		More: "mount /proc in this container without anything on top of it (read-only /proc/sys, masked files)"}, a, err)
}

// perPID is what it takes to fork and to wait once.
const perPID = 40 * time.Microsecond

func cycle() Right {
	r := Right{Name: "pids-cycle", What: "restore at the same PIDs, by forking until they come (--pids=cycle)"}
	most, err := number("/proc/sys/kernel/pid_max")
	if err != nil {
		return said(r, Unknown, err)
	}
	r.Answer = Yes
	r.Why = fmt.Sprintf("pid_max is %d: up to %v", most, (time.Duration(most) * perPID).Round(100*time.Millisecond))
	if time.Duration(most)*perPID > time.Minute {
		r.Answer, r.More = No, "sysctl kernel.pid_max=32768, or another way"
	}
	return r
}

// Beside is the path of a program in the directory of this one; empty if there
// is none.
func Beside(name string) string {
	own, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(own), name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}
