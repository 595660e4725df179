package kernelio

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// Processes lists the PIDs of all processes, in ascending order.
func Processes() ([]int, error) {
	fd, err := openat(unix.AT_FDCWD, "/proc", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	names, err := listDir(fd)
	return numbers(names), err
}

// Children lists the children of all threads of the process, zombies
// included, in ascending order. The list is reliable only while the process
// and its children are frozen (proc_tid_children(5)).
func (p *ProcDir) Children() ([]int, error) {
	tids, err := p.Threads()
	if err != nil {
		return nil, err
	}
	var all []int32
	for _, tid := range tids {
		some, err := parsed(p, fmt.Sprintf("task/%d/children", tid), abi.ParseChildren)
		if errors.Is(err, unix.ENOENT) {
			// Either the thread ended or the kernel lacks CONFIG_PROC_CHILDREN.
			return p.childrenByScan()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return ascending(all), nil
}

func (p *ProcDir) childrenByScan() ([]int, error) {
	return matching(func(s *abi.Stat) bool { return int(s.PPid) == p.PID })
}

// Sessions lists the processes of each session, in ascending order.
func Sessions() (map[int][]int, error) {
	pids, err := Processes()
	if err != nil {
		return nil, err
	}
	out := map[int][]int{}
	for _, pid := range pids {
		if sid, err := SessionOf(pid); err == nil {
			out[sid] = append(out[sid], pid)
		}
	}
	return out, nil
}

// matching lists the processes whose stat satisfies want; those that end
// meanwhile are left out.
func matching(want func(*abi.Stat) bool) ([]int, error) {
	pids, err := Processes()
	if err != nil {
		return nil, err
	}
	var out []int
	for _, pid := range pids {
		p, err := OpenProc(pid)
		if IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st, err := p.Stat()
		p.Close()
		if err == nil && want(st) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// Descendants lists the processes below pid, without it: each after its
// parent, siblings in ascending order. Those that end meanwhile are left out.
func Descendants(pid int) ([]int, error) {
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		children, err := Children(tree[i])
		if err != nil && (i == 0 || !IsGone(err)) {
			return nil, err
		}
		tree = append(tree, children...)
	}
	return tree[1:], nil
}

// Children is ProcDir.Children of process pid.
func Children(pid int) ([]int, error) { return inProc(pid, (*ProcDir).Children) }

// Threads lists the TIDs of process pid, in ascending order.
func Threads(pid int) ([]int, error) {
	return inProc(pid, func(p *ProcDir) ([]int, error) {
		all, err := p.Threads()
		if err == nil && len(all) == 0 {
			err = unix.ESRCH
		}
		return all, err
	})
}

// inProc asks something of the directory of a process. While another thread than
// the first calls execve(2) there are moments in which /proc does not find the
// process, since the directory is that of the first thread, which ends: what
// kill(2) finds is asked for again.
func inProc[T any](pid int, f func(*ProcDir) (T, error)) (v T, err error) {
	for range inProcTimes {
		if v, err = askProc(pid, f); err == nil || !IsGone(err) || unix.Kill(pid, 0) == unix.ESRCH {
			break
		}
		Yield()
	}
	return v, err
}

const inProcTimes = 1000

func askProc[T any](pid int, f func(*ProcDir) (T, error)) (v T, err error) {
	p, err := OpenProc(pid)
	if err != nil {
		return v, err
	}
	defer p.Close()
	return f(p)
}

// IsGone says whether the error means that there is no such process any more.
func IsGone(err error) bool { return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) }

func ascending(pids []int32) []int {
	out := make([]int, len(pids))
	for i, p := range pids {
		out[i] = int(p)
	}
	slices.Sort(out)
	return out
}
