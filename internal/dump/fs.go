package dump

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// gatherFS finds the working directory and the root of each task; a root
// that is the tool's own is left out.
func (s *session) gatherFS() error {
	own, err := ownRoot()
	if err != nil {
		return err
	}
	for _, f := range s.fss {
		if f.Cwd, err = s.inodeAt(f.Task, "cwd", unix.O_PATH); err != nil {
			return fmt.Errorf("working directory of %s: %w", taskName(f.Task), err)
		}
		root, err := s.byPID[int(f.Task.PID)].dir.StatFile("root")
		if err != nil {
			return err
		}
		if root.Dev == own.Dev && root.Ino == own.Ino {
			continue
		}
		if f.Root, err = s.inodeAt(f.Task, "root", unix.O_PATH); err != nil {
			return fmt.Errorf("root of %s: %w", taskName(f.Task), err)
		}
	}
	return nil
}

func ownRoot() (kind.Stat, error) {
	fd, err := kernelio.OpenPath("/", unix.O_PATH)
	if err != nil {
		return kind.Stat{}, err
	}
	defer fd.Close()
	return statFD(fd.Int())
}

// namespaces are the links of /proc/PID/ns that a task lives in itself (the
// *_for_children ones say where its children would).
var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}

// gatherNamespaces lists each namespace that a task of the tree lives in.
func (s *session) gatherNamespaces() error {
	known := map[string]bool{}
	for _, t := range s.tasks {
		for _, typ := range namespaces {
			link, err := t.Proc.Link("ns/" + typ)
			if os.IsNotExist(err) || link == "" && err == nil {
				continue // a kernel without it
			}
			if err != nil {
				return err
			}
			if known[typ+link] {
				continue
			}
			known[typ+link] = true
			if err := s.namespace(t, typ, link); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) namespace(t *kind.TaskSite, typ, link string) error {
	mine, err := os.Readlink("/proc/self/ns/" + typ)
	if err != nil {
		return err
	}
	n := &kind.NamespaceSite{ID: uint32(len(s.spaces) + 1), Type: typ, Own: mine == link, Task: t}
	if _, err := fmt.Sscanf(link[len(link)-len(afterColon(link)):], "[%d]", &n.Ino); err != nil {
		return fmt.Errorf("namespace %s: %w", link, err)
	}
	s.spaces = append(s.spaces, n)
	return nil
}

func afterColon(s string) string {
	for i := range s {
		if s[i] == ':' {
			return s[i+1:]
		}
	}
	return s
}
