package kernelio

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUFeatures lists the feature flags of the first CPU (proc_cpuinfo(5)). It
// reads no further than that, and little at a time: the kernel writes the entries
// of as many processors as there is room for, and asks each for its frequency.
func CPUFeatures() ([]string, error) {
	fd, err := openat(unix.AT_FDCWD, "/proc/cpuinfo", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	text := make([]byte, 0, 16<<10)
	for {
		n, err := againFor(func() (int, error) { return unix.Read(fd.Int(), text[len(text):min(len(text)+512, cap(text))]) })
		if err != nil || n == 0 {
			return nil, failed(err, "read", fd.name)
		}
		text = text[:len(text)+n]
		if flags, ok := lineOf(text, "flags"); ok {
			return strings.Fields(flags), nil
		}
	}
}

// lineOf finds the value of the first line of that name, if all of it is there.
func lineOf(text []byte, name string) (string, bool) {
	for {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			return "", false
		}
		if key, val, ok := bytes.Cut(line, []byte{':'}); ok && string(bytes.TrimSpace(key)) == name {
			return string(val), true
		}
		text = rest
	}
}
