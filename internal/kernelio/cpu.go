package kernelio

import (
	"bufio"
	"os"
	"strings"
)

// CPUFeatures lists the feature flags of the first CPU (proc_cpuinfo(5)). It
// reads no further: the kernel writes the file anew for every processor.
func CPUFeatures() ([]string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, val, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "flags" {
			return strings.Fields(val), nil
		}
	}
	return nil, lines.Err()
}
