package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// other is whom the ordinary user becomes by a map, and otherGroup her group.
const other, otherGroup = 23456, 34567

// give makes a job's places another user's.
func (j *job) give(uid, gid int) {
	j.t.Helper()
	err := filepath.Walk(filepath.Dir(j.status), func(path string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(path, uid, gid)
		}
		return err
	})
	if err != nil {
		j.t.Fatal(err)
	}
}

// TestMaps: a tree of one user comes back as another's: its processes, and all that is the user's without having a name, such as pipes
// and memory files. The fixtures go on and find all as it was.
func TestMaps(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pipes", "mem_memfd", "file_deleted", "sig_pending", "sock_listen", "threads", "tree"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := userJob(t, name)
			image := j.userDump()
			j.give(other, otherGroup)
			was := j.progress().Seq
			res := rstr(t, "--verify", "--detach", fmt.Sprintf("--uidmap=%d:%d", ordinary, other), "--gidmap", fmt.Sprintf("%d:%d:1", ordinary, otherGroup), image)
			if !res.OK() {
				t.Fatalf("restore: %v", res)
			}
			j.reach(was + 2)
			for _, pid := range j.ours() {
				j.wears(pid)
			}
		})
	}
}

// wears checks that nothing of a process is the ordinary user's any more.
func (j *job) wears(pid int) {
	j.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		j.t.Fatal(err)
	}
	for _, line := range []string{fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", other), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", otherGroup)} {
		if !strings.Contains(string(status), line) {
			j.t.Errorf("process %d is not of %q: %s", pid, line, status)
		}
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if info, err := os.Stat(fd); err == nil {
			if st := info.Sys().(*syscall.Stat_t); st.Uid == ordinary || st.Gid == ordinary {
				link, _ := os.Readlink(fd)
				j.t.Errorf("%s (%s) is still of user %d, group %d", fd, link, st.Uid, st.Gid)
			}
		}
	}
}

// TestMapRefused: what makes no sense, and whom nobody mapped, refuses the restore and makes nothing.
func TestMapRefused(t *testing.T) {
	t.Parallel()
	j := userJob(t, "timerfd")
	image := j.userDump()
	me := strconv.Itoa(ordinary)
	file := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(file, []byte("# users\n"+me+" 0\n"+me+":5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--uidmap=" + me + ":5", "--uidmap=" + me + ":6"}, cli.Usage, "overlap"},
		{[]string{"--uidmap=1:5", "--uidmap=2:5"}, cli.Usage, "overlap"},
		{[]string{"--gidmap=" + me + ":4294967295"}, cli.Usage, "-1"},
		{[]string{"--gidmap=0:0:4294967296"}, cli.Usage, "no id"},
		{[]string{"--uidmap=4294967290:0:10"}, cli.Usage, "-1"},
		{[]string{"--uidmap=nobody-of-that-name:5"}, cli.Usage, "nobody here"},
		{[]string{"--uidmap=@" + file}, cli.Usage, "overlap"},
		{[]string{"--uidmap=@/nonexistent"}, cli.Usage, "no such file"},
		{[]string{"--map-rest=nobody"}, cli.Usage, "identity"},
	} {
		refusal(t, rstr(t, append(append([]string{"--verify"}, c.args...), image)...), c.code, c.want)
		if harness.Exists(j.pid) {
			t.Fatalf("%v: PID %d is there", c.args, j.pid)
		}
	}
}
