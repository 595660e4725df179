package abi

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"
)

// Mount is a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID, Parent   int32
	Dev          uint64 // unix.Mkdev of the filesystem
	Root         string // directory of the filesystem that is the root of this mount
	Point        string // where it is mounted, relative to the process's root
	Options      string // of the mount: "rw,nosuid"
	Optional     []string
	Type         string // filesystem type, "fuse.sshfs" with its subtype
	Source       string
	SuperOptions string
}

// mountEscapes are the characters that show_mountinfo writes as \ooo
// (fs/proc_namespace.c; '#' outside paths).
const mountEscapes = " \t\n\\#"

// ParseMountinfo reads the whole text of mountinfo.
func ParseMountinfo(text []byte) ([]Mount, error) {
	var out []Mount
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		m, ok := parseMount(line)
		if !ok {
			return nil, syntax("mountinfo", line, "not a mount")
		}
		out = append(out, m)
	}
	return out, nil
}

func parseMount(line []byte) (m Mount, ok bool) {
	f := bytes.Split(line, []byte{' '})
	sep := slices.IndexFunc(f, func(b []byte) bool { return string(b) == "-" })
	if sep < 6 || len(f) < sep+4 {
		return m, false
	}
	major, minor, found := bytes.Cut(f[2], []byte{':'})
	var maj, min uint32
	ok = found && scanInt32(f[0], &m.ID) && scanInt32(f[1], &m.Parent) &&
		scan(major, 10, &maj) && scan(minor, 10, &min)
	m.Dev = unix.Mkdev(maj, min)
	m.Root, m.Point = unescape(f[3], mountEscapes), unescape(f[4], mountEscapes)
	m.Options = string(f[5])
	for _, o := range f[6:sep] {
		m.Optional = append(m.Optional, string(o))
	}
	tail := f[sep+1:]
	m.Type, m.Source = unescape(tail[0], mountEscapes), unescape(tail[1], mountEscapes)
	m.SuperOptions = unescape(bytes.Join(tail[2:], []byte{' '}), mountEscapes)
	return m, ok
}
