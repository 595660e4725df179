package kernelio

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

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

// NameIn finds a name of an inode in a directory; empty if it has none there,
// or none that can be seen.
func NameIn(dir string, dev, ino uint64) string {
	fd, err := OpenPath(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer fd.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := againFor(func() (int, error) { return unix.ReadDirent(fd.Int(), buf) })
		if err != nil || n == 0 {
			return ""
		}
		for name := range entries(buf[:n], ino) {
			if leadsTo(fd.Int(), name, dev, ino) {
				return name
			}
		}
	}
}

func leadsTo(dirfd int, name string, dev, ino uint64) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Dev == dev && st.Ino == ino
}

// entries are the names of an inode number in what getdents64(2) gave: struct
// linux_dirent64, with the number at 0, its length at 16, the name at 19.
func entries(b []byte, ino uint64) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(b) > 19 {
			size := int(binary.LittleEndian.Uint16(b[16:]))
			if size < 20 || size > len(b) {
				return
			}
			name, _, _ := strings.Cut(string(b[19:size]), "\x00")
			if binary.LittleEndian.Uint64(b) == ino && !yield(name) {
				return
			}
			b = b[size:]
		}
	}
}
