package kinds

import (
	"os"
	"strings"
	"testing"
)

// statusLines says of every line of /proc/PID/status as of Linux 6.18 who
// keeps what it shows: a kind by its name, the engine, or nobody, with the
// reason in parentheses.
var statusLines = map[string]string{
	"Name":                       "thread",
	"Umask":                      "fs",
	"State":                      "engine",
	"Tgid":                       "engine",
	"Ngid":                       "(NUMA balancing's guess, made anew)",
	"Pid":                        "engine",
	"PPid":                       "engine",
	"TracerPid":                  "engine", // who is traced by another can't be seized
	"Uid":                        "creds",
	"Gid":                        "creds",
	"FDSize":                     "engine",
	"Groups":                     "creds",
	"NStgid":                     "engine",
	"NSpid":                      "samens",
	"NSpgid":                     "engine",
	"NSsid":                      "engine",
	"Kthread":                    "task",
	"VmPeak":                     "(accounting)",
	"VmSize":                     "engine",
	"VmLck":                      "mlock",
	"VmPin":                      "(pinned by drivers or io_uring, whose descriptors are refused)",
	"VmHWM":                      "(accounting)",
	"VmRSS":                      "engine",
	"RssAnon":                    "engine",
	"RssFile":                    "engine",
	"RssShmem":                   "engine",
	"VmData":                     "engine",
	"VmStk":                      "engine",
	"VmExe":                      "mm",
	"VmLib":                      "engine",
	"VmPTE":                      "(accounting)",
	"VmSwap":                     "engine",
	"HugetlbPages":               "hugeinode",
	"CoreDumping":                "task",
	"THP_enabled":                "thpdisable",
	"untag_mask":                 "task",
	"x86_Thread_features":        "task",
	"x86_Thread_features_locked": "(nothing is lost where the features themselves are refused)",
	"Threads":                    "engine",
	"SigQ":                       "(accounting of the user)",
	"SigPnd":                     "pending",
	"ShdPnd":                     "pending",
	"SigBlk":                     "engine",
	"SigIgn":                     "sigactions",
	"SigCgt":                     "sigactions",
	"CapInh":                     "creds",
	"CapPrm":                     "creds",
	"CapEff":                     "creds",
	"CapBnd":                     "creds",
	"CapAmb":                     "creds",
	"NoNewPrivs":                 "creds",
	"Seccomp":                    "seccomp",
	"Seccomp_filters":            "seccomp",
	"Speculation_Store_Bypass":   "speculation",
	"SpeculationIndirectBranch":  "speculation",
	"Cpus_allowed":               "affinity",
	"Cpus_allowed_list":          "affinity",
	"Mems_allowed":               "(the cpuset's; rstr's own applies)",
	"Mems_allowed_list":          "(the cpuset's; rstr's own applies)",
	"voluntary_ctxt_switches":    "(accounting)",
	"nonvoluntary_ctxt_switches": "(accounting)",
}

func TestEveryLineOfStatusIsKept(t *testing.T) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(line, ":")
		if statusLines[key] == "" {
			t.Errorf("nobody keeps the line %q of /proc/PID/status", key)
		}
	}
	for key, who := range statusLines {
		if who != "engine" && !strings.HasPrefix(who, "(") && All().Named(who) == nil {
			t.Errorf("the line %q is said to be kept by %q, which is no kind", key, who)
		}
	}
}
