package kernelio

import (
	"bytes"
	"os"
	"strings"
)

// CPUFeatures lists the feature flags of the first CPU (proc_cpuinfo(5)).
func CPUFeatures() ([]string, error) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if name, val, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "flags" {
			return strings.Fields(val), nil
		}
	}
	return nil, nil
}
