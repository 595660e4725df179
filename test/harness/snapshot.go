package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Snapshot is what /proc shows of a tree, one entry a fact, keyed by "PID/file: field". Names of kernel objects that a restore makes anew
// (pipe and socket inodes, device and inode of deleted files) are replaced by the order in which they are first met, which keeps what is
// shared with what.
type Snapshot map[string]string

// Take reads a snapshot of root's tree. Descriptors of the status file, and of /proc, come and go with the fixture's own checks and are left out.
func Take(root int, statusFile string) Snapshot {
	s := shot{Snapshot{}, map[string]int{}, statusFile}
	for _, pid := range Tree(root) {
		s.process(pid, pid == root)
	}
	return s.facts
}

// Stable takes a few snapshots over some milliseconds and keeps the facts that are the same in all.
func Stable(root int, statusFile string) Snapshot {
	all := Take(root, statusFile)
	for range 6 {
		time.Sleep(10 * time.Millisecond)
		next := Take(root, statusFile)
		maps.DeleteFunc(all, func(k, v string) bool { return next[k] != v })
	}
	return all
}

// Missing reports the facts of want that no snapshot of root's tree shows within limit, a line each.
func Missing(want Snapshot, root int, statusFile string, limit time.Duration) []string {
	left := maps.Clone(want)
	last := Snapshot{}
	for end := time.Now().Add(limit); len(left) > 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		last = Take(root, statusFile)
		maps.DeleteFunc(left, func(k, v string) bool { return last[k] == v })
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(left)) {
		lines = append(lines, fmt.Sprintf("%s: was %q, is %q", k, left[k], last[k]))
	}
	return lines
}

type shot struct {
	facts      Snapshot
	numbers    map[string]int
	statusFile string
}

func (s *shot) process(pid int, root bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	if s.stat(dir, root); zombie(dir) {
		return // only its place in the tree and its status are left, and the status is for its parent to check
	}
	for _, name := range []string{"cmdline", "environ", "auxv", "personality", "oom_score_adj", "coredump_filter", "limits", "cgroup", "uid_map"} {
		s.file(dir, name)
	}
	for _, name := range []string{"exe", "cwd", "root", "ns/mnt", "ns/pid", "ns/user", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup", "ns/time"} {
		s.link(dir, name)
	}
	s.status(dir)
	s.mappings(dir)
	s.descriptors(dir)
	for _, tid := range Threads(pid) {
		s.thread(fmt.Sprintf("%s/task/%d", dir, tid))
	}
}

func (s *shot) thread(dir string) {
	s.file(dir, "comm")
	s.file(dir, "children")
	s.status(dir)
	if f := statFields(dir); len(f) > 41 {
		s.set(dir, "stat: nice", f[18])
		s.set(dir, "stat: rt_priority", f[39])
		s.set(dir, "stat: policy", f[40])
	}
}

func (s *shot) set(dir, key, value string) {
	s.facts[strings.TrimPrefix(dir, "/proc/")+"/"+key] = value
}

func (s *shot) file(dir, name string) {
	if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
		s.set(dir, name, string(b))
	}
}

func (s *shot) link(dir, name string) {
	if target, err := os.Readlink(filepath.Join(dir, name)); err == nil {
		s.set(dir, name, target)
	}
}

// statFields are the fields of proc_pid_stat(5), field 1 at index 0; the name, which may hold anything, is left empty.
func statFields(dir string) []string {
	b, _ := os.ReadFile(filepath.Join(dir, "stat"))
	text := string(b)
	end := strings.LastIndex(text, ")")
	if end < 0 {
		return nil
	}
	return append([]string{"", ""}, strings.Fields(text[end+1:])...)
}

func zombie(dir string) bool {
	f := statFields(dir)
	return len(f) > 2 && f[2] == "Z"
}

func (s *shot) stat(dir string, root bool) {
	f := statFields(dir)
	if len(f) < 52 {
		return
	}
	kept := map[string]int{"group": 5, "session": 6, "terminal": 7, "threads": 20, "exit_signal": 38}
	if !zombie(dir) {
		maps.Copy(kept, map[string]int{"start_code": 26, "end_code": 27, "start_stack": 28, "start_data": 45, "end_data": 46,
			"start_brk": 47, "arg_start": 48, "arg_end": 49, "env_start": 50, "env_end": 51})
	}
	if !root {
		kept["parent"] = 4
	}
	for name, field := range kept {
		s.set(dir, "stat: "+name, f[field-1])
	}
	s.set(dir, "stat: zombie", fmt.Sprint(f[2] == "Z"))
	s.set(dir, "stat: stopped", fmt.Sprint(f[2] == "T"))
}

// statusKept are the lines of proc_pid_status(5) that a restore gives back; the rest counts, or depends on the moment, or on the past
// (FDSize: how large the table once was).
var statusKept = []string{"Name", "Umask", "Ngid", "NStgid", "NSpid", "Uid", "Gid", "Groups", "Kthread", "VmLck", "THP_enabled",
	"SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
	"Seccomp_filters", "Cpus_allowed_list", "Mems_allowed_list", "untag_mask"}

func (s *shot) status(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && slices.Contains(statusKept, name) {
			s.set(dir, "status: "+name, strings.TrimSpace(value))
		}
	}
}

var object = regexp.MustCompile(`^(pipe|socket):\[(\d+)\]$`)

// name replaces an inode number that a restore cannot keep by its order of appearance among those of its kind.
func (s *shot) name(kind, id string) string {
	key := kind + id
	if _, ok := s.numbers[key]; !ok {
		s.numbers[key] = s.numbers[kind]
		s.numbers[kind]++
	}
	return fmt.Sprintf("%s #%d", kind, s.numbers[key])
}

func (s *shot) target(link string) string {
	if m := object.FindStringSubmatch(link); m != nil {
		return s.name(m[1], m[2])
	}
	return anonymous(link)
}

// anonymous hides the name that a deleted file had; memfds and shared anonymous memory keep theirs.
func anonymous(path string) string {
	if strings.HasSuffix(path, " (deleted)") && !strings.HasPrefix(path, "/memfd:") && !strings.HasPrefix(path, "/dev/zero") {
		return "(deleted)"
	}
	return path
}

func (s *shot) mappings(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "smaps"))
	at := ""
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			at = "maps " + place(f)
			s.set(dir, at, s.mapping(f))
		case len(f) > 0 && f[0] == "VmFlags:":
			// sd (soft-dirty) says what was written to lately.
			flags := slices.DeleteFunc(f[1:], func(flag string) bool { return flag == "sd" })
			s.set(dir, at+" flags", strings.Join(flags, " "))
		}
	}
}

// place is where a mapping lies; of the stack and the heap, which grow as the program goes on, the end that stays.
func place(f []string) string {
	start, end, _ := strings.Cut(f[0], "-")
	switch f[len(f)-1] {
	case "[stack]":
		return "to " + end
	case "[heap]":
		return "from " + start
	}
	return f[0]
}

// mapping is the line of a mapping without its addresses: protection, offset, object.
func (s *shot) mapping(f []string) string {
	path := strings.Join(f[5:], " ")
	if strings.HasSuffix(path, " (deleted)") {
		return strings.Join([]string{f[1], f[2], s.name("inode of "+anonymous(path), f[3]+f[4])}, " ")
	}
	return strings.Join([]string{f[1], f[2], f[3], f[4], path}, " ")
}

// fdinfoDropped are lines of fdinfo that number kernel objects or tell the moment.
var fdinfoDropped = []string{"ino", "mnt_id", "eventfd-id", "ticks", "it_value", "inotify wd", "tfd"}

func (s *shot) descriptors(dir string) {
	entries, _ := os.ReadDir(filepath.Join(dir, "fd"))
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return len(a.Name()) - len(b.Name()) })
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, "fd", e.Name()))
		if err != nil || link == s.statusFile || strings.HasPrefix(link, "/proc/") {
			continue
		}
		s.set(dir, "fd "+e.Name(), s.target(link))
		s.fdinfo(dir, e.Name())
	}
}

func (s *shot) fdinfo(dir, fd string) {
	b, _ := os.ReadFile(filepath.Join(dir, "fdinfo", fd))
	var kept []string
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !slices.ContainsFunc(fdinfoDropped, func(p string) bool { return strings.HasPrefix(name, p) }) {
			kept = append(kept, name+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	s.set(dir, "fdinfo "+fd, strings.Join(kept, "; "))
}
