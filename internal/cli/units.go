package cli

import (
	"fmt"
	"time"
)

// Bytes shows a size for people.
func Bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, prefix := float64(n)/unit, "KMGTPE"
	i := 0
	for v >= unit && i < len(prefix)-1 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, prefix[i])
}

// Rate shows how fast n bytes went in d.
func Rate(n uint64, d time.Duration) string {
	return Bytes(uint64(float64(n)/max(d.Seconds(), 1e-6))) + "/s"
}

// Count says how many there are of what: "1 thread", "30 threads".
func Count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what[len(what)-1] == 's':
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Took shows a duration without digits that mean nothing.
func Took(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
