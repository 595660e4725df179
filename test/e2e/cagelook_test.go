package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// rightsOf is what a process may do, as /proc shows it.
type rightsOf struct {
	creds  []kernelio.Credentials // of each thread
	limits abi.Limits
	oom    int
	nice   int64
	policy uint32 // SCHED_*
}

// ownRights are those of a program that the caller starts by herself.
func (w way) ownRights() (r rightsOf, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	defer null.Close()
	pid, err := w.start([]string{"/bin/sleep", "1000"}, null)
	if err != nil {
		return r, err
	}
	r, err = rightsFrom(pid)
	return r, errors.Join(err, endAll())
}

func rightsFrom(pid int) (r rightsOf, err error) {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return r, err
	}
	defer dir.Close()
	tids, err := dir.Threads()
	if err != nil {
		return r, err
	}
	for _, tid := range tids {
		s, err := dir.ThreadStatus(tid)
		if err != nil {
			return r, err
		}
		r.creds = append(r.creds, kernelio.CredentialsOf(s))
	}
	if r.limits, err = dir.Limits(); err != nil {
		return r, err
	}
	adj, err := dir.Read("oom_score_adj")
	if err != nil {
		return r, err
	}
	if r.oom, err = strconv.Atoi(strings.TrimSpace(string(adj))); err != nil {
		return r, err
	}
	stat, err := dir.Stat()
	if err == nil {
		r.nice, r.policy = stat.Nice, stat.Policy
	}
	return r, err
}

// beyond says what a process may do that its caller's own may not. It may have bound itself by no_new_privs.
func (r rightsOf) beyond(own rightsOf) (out []string) {
	for _, c := range r.creds {
		c.NoNewPrivs = c.NoNewPrivs && own.creds[0].NoNewPrivs
		if !c.Equal(&own.creds[0]) {
			out = append(out, fmt.Sprintf("has %+v", c))
		}
	}
	for n, l := range r.limits {
		if l.Max > own.limits[n].Max {
			out = append(out, fmt.Sprintf("has a hard limit %d of %d", n, l.Max))
		}
	}
	if r.oom < own.oom || r.nice < own.nice {
		out = append(out, fmt.Sprintf("has oom_score_adj %d, nice %d", r.oom, r.nice))
	}
	if r.policy == unix.SCHED_FIFO || r.policy == unix.SCHED_RR || r.policy == unix.SCHED_DEADLINE {
		out = append(out, fmt.Sprintf("is scheduled by policy %d", r.policy))
	}
	return out
}

// look looks at the processes that there are after a restore: all have what their caller has, and there are none if it failed.
func (c *cage) look(w way, restored bool) (out []string) {
	if !restored {
		return leftAlone()
	}
	for _, pid := range others() {
		r, err := rightsFrom(pid)
		if err != nil {
			continue // it has ended
		}
		for _, what := range append(r.beyond(c.plain[w.Name]), w.holds(pid)...) {
			out = append(out, fmt.Sprintf("process %d %s", pid, what))
		}
	}
	return out
}

// leftAlone waits until nobody is there.
func leftAlone() []string {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		reap()
		left := others()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return []string{fmt.Sprintf("processes %v are left behind", left)}
		}
	}
}

// holds lists the files that a process has open and its caller could not open.
func (w way) holds(pid int) (out []string) {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil || !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "/memfd:") || link == filepath.Join(boxes, "said") {
			continue
		}
		info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		if err != nil {
			continue
		}
		var pos, flags int
		var st unix.Stat_t
		if _, err := fmt.Sscanf(string(info), "pos:\t%d\nflags:\t%o\n", &pos, &flags); err != nil || flags&unix.O_PATH != 0 || unix.Stat(fd, &st) != nil {
			continue
		}
		wanted := map[int]uint32{unix.O_RDONLY: 4, unix.O_WRONLY: 2, unix.O_RDWR: 6}[flags&unix.O_ACCMODE]
		if !w.may(&st, wanted) {
			out = append(out, fmt.Sprintf("has %s open with flags %#o, a file of %d:%d with mode %#o", link, flags, st.Uid, st.Gid, st.Mode))
		}
	}
	return out
}

// may judges by the permissions of a file alone.
func (w way) may(st *unix.Stat_t, wanted uint32) bool {
	has := st.Mode
	switch {
	case w.UID == 0:
		return true
	case st.Uid == w.UID:
		has >>= 6
	case st.Gid == w.UID || slices.Contains(w.Groups, st.Gid):
		has >>= 3
	}
	return has&wanted == wanted
}

// lookAtFiles looks at what was written: by a restore that failed nothing, and else only what is the caller's to write. A new copy of
// /tmp takes the place of one that was written to.
func (c *cage) lookAtFiles(w way, restored bool) (out []string, err error) {
	up, written := c.room("up"), false
	err = filepath.WalkDir(up, func(path string, _ fs.DirEntry, err error) error {
		if path == up || err != nil {
			return err
		}
		written = true
		if what := w.made(path, filepath.Join(boxes, "true", strings.TrimPrefix(path, up)), restored); what != "" {
			out = append(out, what)
		}
		return nil
	})
	if err == nil && written {
		err = c.fresh()
	}
	return out, err
}

// made says what is wrong with a file of the copy. One that was only opened for writing is a copy of the true one, and the dead file of a
// socket may be another one by now.
func (w way) made(path, truth string, restored bool) string {
	var is, was unix.Stat_t
	if err := unix.Lstat(path, &is); err != nil {
		return err.Error()
	}
	before := unix.Lstat(truth, &was) == nil
	gone := is.Mode&unix.S_IFMT == unix.S_IFCHR && is.Rdev == 0 // a whiteout
	same := before && is.Mode == was.Mode && is.Uid == was.Uid && is.Gid == was.Gid
	switch {
	case !restored && !gone && same && (is.Mode&unix.S_IFMT != unix.S_IFREG || sameContent(path, truth)):
		return ""
	case !restored:
		return fmt.Sprintf("left behind: %s of mode %#o", truth, is.Mode)
	case gone && before && was.Uid == w.UID, same:
		return ""
	}
	names := make([]byte, 4096)
	n, _ := unix.Llistxattr(path, names)
	security := bytes.Contains(names[:max(n, 0)], []byte("security."))
	if is.Uid != w.UID || is.Gid != w.UID && !slices.Contains(w.Groups, is.Gid) || is.Mode&(syscall.S_ISUID|syscall.S_ISGID) != 0 || gone || security {
		return fmt.Sprintf("made: %s of %d:%d with mode %#o, security attributes: %v", truth, is.Uid, is.Gid, is.Mode, security)
	}
	return ""
}

func sameContent(a, b string) bool {
	x, err1 := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
