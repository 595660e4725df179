package kernelio

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// List lists the names in the directory name below /proc/PID.
func (p *ProcDir) List(name string) ([]string, error) {
	fd, err := p.Open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	return listDir(fd)
}

// Numbers lists the names that are numbers, in ascending order.
func (p *ProcDir) Numbers(name string) ([]int, error) {
	names, err := p.List(name)
	return numbers(names), err
}

func numbers(names []string) []int {
	var out []int
	for _, s := range names {
		if n, err := strconv.Atoi(s); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// listDir reads all names of an open directory except . and .. .
func listDir(fd *FD) (names []string, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := againFor(func() (int, error) { return unix.ReadDirent(fd.Int(), buf) })
		if err != nil || n == 0 {
			return names, failed(err, "getdents64", fd.name)
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
