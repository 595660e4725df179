package kinds

import (
	"os"
	"strings"
	"testing"
)

// procFiles says of every file of /proc/PID as of Linux 6.18 who keeps what
// it shows, in the manner of statusLines. "(rstr's own)" is what a restored
// process has from the place where it is restored.
var procFiles = map[string]string{
	"arch_status":         "(how long ago AVX-512 was used)",
	"attr":                "label",
	"autogroup":           "autogroup",
	"auxv":                "mm",
	"cgroup":              "(rstr's own)",
	"children":            "engine",
	"clear_refs":          "(an action)",
	"cmdline":             "mm",
	"comm":                "thread",
	"coredump_filter":     "coredumpfilter",
	"cpuset":              "(rstr's own)",
	"cwd":                 "fs",
	"environ":             "mm",
	"exe":                 "mm",
	"fd":                  "engine",
	"fdinfo":              "engine",
	"gid_map":             "samens",
	"io":                  "(accounting)",
	"ksm_merging_pages":   "(accounting)",
	"ksm_stat":            "memorymerge",
	"latency":             "(accounting)",
	"limits":              "rlimits",
	"loginuid":            "(rstr's own: who logged in here)",
	"map_files":           "engine",
	"maps":                "engine",
	"mem":                 "engine",
	"mountinfo":           "samens",
	"mounts":              "samens",
	"mountstats":          "samens",
	"net":                 "samens",
	"ns":                  "samens",
	"numa_maps":           "(where pages lie)",
	"oom_adj":             "oom",
	"oom_score":           "(computed)",
	"oom_score_adj":       "oom",
	"pagemap":             "engine",
	"patch_state":         "(the kernel's)",
	"personality":         "personality",
	"projid_map":          "samens",
	"root":                "fs",
	"sched":               "(accounting)",
	"schedstat":           "(accounting)",
	"seccomp_cache":       "seccomp",
	"sessionid":           "(rstr's own: who logged in here)",
	"setgroups":           "samens",
	"smaps":               "engine",
	"smaps_rollup":        "(accounting)",
	"stack":               "(the kernel's)",
	"stat":                "engine",
	"statm":               "(accounting)",
	"status":              "(see statusLines)",
	"syscall":             "engine",
	"task":                "engine",
	"timens_offsets":      "samens",
	"timers":              "posixtimers",
	"timerslack_ns":       "timerslack",
	"uid_map":             "samens",
	"wchan":               "(the kernel's)",
	"x86_thread_features": "task",
}

func TestEveryFileOfProcIsKept(t *testing.T) {
	for _, dir := range []string{"/proc/self", "/proc/thread-self"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if procFiles[e.Name()] == "" {
				t.Errorf("nobody keeps %s/%s", dir, e.Name())
			}
		}
	}
	for file, who := range procFiles {
		if who != "engine" && !strings.HasPrefix(who, "(") && All().Named(who) == nil {
			t.Errorf("%s is said to be kept by %q, which is no kind", file, who)
		}
	}
}
