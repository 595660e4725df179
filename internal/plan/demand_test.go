package plan

import "testing"

func TestParseDemand(t *testing.T) {
	for s, want := range map[string]Demand{
		"uid:0":               {Term: "uid"},
		"gid:7":               {Term: "gid", ID: 7},
		"group+5":             {Term: "group+", ID: 5},
		"group-6":             {Term: "group-", ID: 6},
		"open-as:12":          {Term: "open-as", ID: 12},
		"own:3:4":             {Term: "own", ID: 3, GID: 4},
		"cap:sys_admin":       {Term: "cap", Name: "sys_admin"},
		"rlimit:nofile":       {Term: "rlimit", Name: "nofile"},
		"file:/a:b/c:rw":      {Term: "file", Name: "/a:b/c", Mode: "rw"},
		"file:inode 7:r":      {Term: "file", Name: "inode 7", Mode: "r"},
		"memory:/usr/bin/x:y": {Term: "memory", Name: "/usr/bin/x:y"},
		"pid:here":            {Term: "pid:here"},
		"sched":               {Term: "sched"},
	} {
		if got, err := ParseDemand(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "uid", "uid:", "uid:-1", "uid:4294967295", "uid:4294967296", "uid:+1", "uid:01", "own:1", "own:1:", "own:1:2:3",
		"file:/a", "file::r", "file:/a:z", "cap:", "sched:x", "pid", "pid:there", "never", "group+x", "everything", "UID:0"} {
		if d, err := ParseDemand(s); err == nil {
			t.Errorf("%q is taken for %+v", s, d)
		}
	}
}
