package host

import (
	"os"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// MachineID is what machine-id(5) holds; empty where there is none.
func MachineID() string {
	b, err := kernelio.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Kernel is the release of the running kernel (uname -r).
func Kernel() (string, error) {
	b, err := kernelio.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b)), err
}

// CPUFeatures lists what programs may have found by CPUID and relied on: the
// instruction set extensions, of all the flags that the kernel shows.
func CPUFeatures() ([]string, error) {
	all, err := kernelio.CPUFeatures()
	var out []string
	for _, f := range all {
		if isa(f) {
			out = append(out, f)
		}
	}
	return out, err
}

// isa says whether a flag of /proc/cpuinfo names instructions that user mode
// can execute (arch/x86/include/asm/cpufeatures.h).
func isa(flag string) bool {
	for _, prefix := range []string{"sse", "ssse3", "avx", "bmi", "sha", "amx", "gfni", "vaes", "vpclmul", "xsave", "mov"} {
		if strings.HasPrefix(flag, prefix) {
			return true
		}
	}
	switch flag {
	case "cmov", "cx8", "cx16", "fxsr", "mmx", "pni", "popcnt", "aes", "pclmulqdq", "fma", "f16c", "abm", "lahf_lm", "rdrand",
		"rdseed", "adx", "rdtscp", "fsgsbase", "erms", "fsrm", "clflushopt", "clwb", "clzero", "rdpid", "pku", "ospke", "sse4a", "fma4", "xop", "tbm":
		return true
	}
	return false
}

// Caller is who runs the program, as the kernel says.
func Caller() (uid, gid uint32, groups []uint32, err error) {
	list, err := os.Getgroups()
	for _, g := range list {
		groups = append(groups, uint32(g))
	}
	return uint32(os.Getuid()), uint32(os.Getgid()), groups, err
}

// Zone is the host's own time zone, whatever the caller's TZ says: what the dates
// in trust files mean that name no zone (ssh-keygen(1), ALLOWED SIGNERS). A host
// without one keeps UTC.
func Zone() *time.Location {
	b, err := os.ReadFile("/etc/localtime")
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("local", b)
	if err != nil {
		return time.UTC
	}
	return zone
}
