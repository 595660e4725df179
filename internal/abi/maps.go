package abi

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// VMA is one virtual memory area as a line of /proc/PID/maps shows it
// (proc_pid_maps(5), show_map_vma in fs/proc/task_mmu.c).
type VMA struct {
	Start, End uint64
	Prot       uint32 // unix.PROT_READ | PROT_WRITE | PROT_EXEC
	Shared     bool   // 's' (VM_MAYSHARE) and not 'p'
	Offset     uint64 // bytes into the file
	Dev        uint64 // as unix.Mkdev gives it; 0 when there is no file
	Inode      uint64
	// Path is the last column: a path, a path and " (deleted)", a name in
	// brackets, or nothing. The kernel writes a newline in it as \012 and
	// nothing else specially, so a file whose name holds the four characters
	// \012 cannot be told apart: take the name from map_files where it matters.
	Path string
}

// Len is the size in bytes.
func (v *VMA) Len() uint64 { return v.End - v.Start }

// ParseMaps reads the whole text of /proc/PID/maps.
func ParseMaps(text []byte) ([]VMA, error) {
	out := make([]VMA, 0, bytes.Count(text, []byte{'\n'})+1)
	last := ""
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		v, err := parseVMA("maps", line, last)
		if err != nil {
			return nil, err
		}
		last = v.Path
		out = append(out, v)
	}
	return out, nil
}

// parseVMA reads one line; last is the path of the line before, whose string
// is used again when it is the same.
func parseVMA(file string, line []byte, last string) (v VMA, err error) {
	b, ok := line, true
	num := func(base uint64, sep byte) (n uint64) {
		if n, b, ok = leadThen(b, base, sep, ok); !ok {
			return 0
		}
		return n
	}
	v.Start, v.End = num(16, '-'), num(16, ' ')
	b, ok = parsePerms(b, &v, ok)
	v.Offset = num(16, ' ')
	major, minor := num(16, ':'), num(16, ' ')
	if major|minor != 0 {
		v.Dev = unix.Mkdev(uint32(major), uint32(minor))
	}
	v.Inode = num(10, ' ')
	if !ok || v.End < v.Start {
		return v, syntax(file, line, "not a mapping")
	}
	if b = trimLeft(b); string(b) == last {
		v.Path = last
	} else {
		v.Path = unescape(b, "\n")
	}
	return v, nil
}

// leadThen reads a number and the separator after it; the last number of a
// line without a path may lack its separator.
func leadThen(b []byte, base uint64, sep byte, ok bool) (uint64, []byte, bool) {
	if !ok {
		return 0, b, false
	}
	n, rest, ok := leadUint(b, base)
	switch {
	case !ok:
		return 0, b, false
	case len(rest) == 0:
		return n, rest, sep == ' '
	case rest[0] != sep:
		return 0, b, false
	}
	return n, rest[1:], true
}

func parsePerms(b []byte, v *VMA, ok bool) ([]byte, bool) {
	if !ok || len(b) < 5 || b[4] != ' ' {
		return b, false
	}
	for i, bit := range [3]uint32{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		switch b[i] {
		case "rwx"[i]:
			v.Prot |= bit
		case '-':
		default:
			return b, false
		}
	}
	v.Shared = b[3] == 's'
	return b[5:], v.Shared || b[3] == 'p'
}
