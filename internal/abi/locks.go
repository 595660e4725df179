package abi

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// Lock is a line of /proc/locks or a lock: line of fdinfo (proc_locks(5);
// lock_get_status in fs/locks.c).
type Lock struct {
	ID      int64  // ordinal in the list
	Blocked bool   // a "->" line: waits for the lock above it
	Type    string // POSIX, OFDLCK, FLOCK, LEASE, DELEG, ACCESS
	Mode    string // ADVISORY, MANDATORY, ACTIVE, BREAKING, BREAKER
	Access  string // READ, WRITE, UNLCK, RW, NONE
	Pid     int32  // -1 for an OFD lock, 0 for a holder outside the PID namespace
	Dev     uint64 // unix.Mkdev; 0 when Inode is
	Inode   uint64 // 0 for a lock that has lost its file
	Start   uint64
	End     uint64 // inclusive; MaxOffset for EOF
}

// MaxOffset is the End of a lock that reaches to the end of the file.
const MaxOffset = 1<<63 - 1

// ParseLocks reads the whole text of /proc/locks.
func ParseLocks(text []byte) ([]Lock, error) {
	var out []Lock
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		l, err := parseLock(line)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func parseLock(line []byte) (l Lock, err error) {
	f := fields(line)
	if len(f) > 1 && string(f[1]) == "->" {
		l.Blocked = true
		f = append(f[:1:1], f[2:]...)
	}
	if len(f) != 8 || !store(bytes.TrimSuffix(f[0], []byte{':'}), &l.ID) {
		return l, syntax("locks", line, "not a lock")
	}
	l.Type, l.Mode, l.Access = string(f[1]), string(f[2]), string(f[3])
	if !scanInt32(f[4], &l.Pid) || !l.setInode(f[5]) || !l.setRange(f[6], f[7]) {
		return l, syntax("locks", line, "not a holder and a range")
	}
	return l, nil
}

// setInode reads "fe:00:1234" (major and minor hexadecimal) or "<none>:0".
func (l *Lock) setInode(b []byte) bool {
	if bytes.HasPrefix(b, []byte("<none>:")) {
		return true
	}
	major, b, ok1 := leadThen(b, 16, ':', true)
	minor, b, ok2 := leadThen(b, 16, ':', ok1)
	l.Dev = unix.Mkdev(uint32(major), uint32(minor))
	return ok2 && scan(b, 10, &l.Inode)
}

func (l *Lock) setRange(start, end []byte) bool {
	if string(end) == "EOF" {
		l.End = MaxOffset
		return scan(start, 10, &l.Start)
	}
	return scan(start, 10, &l.Start) && scan(end, 10, &l.End)
}
