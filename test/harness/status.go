package harness

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Progress is what a status file says: whether the fixture is ready, and the last number of its sequence.
type Progress struct {
	Ready bool
	Seq   int
}

// ReadStatus reads a fixture's status file from its beginning. Sequence numbers must follow one another from 1 on, and a "FAIL" line is
// an error with its reason.
func ReadStatus(path string) (Progress, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Progress{}, nil
	}
	if err != nil {
		return Progress{}, err
	}
	return parseStatus(string(b), 0)
}

// parseStatus reads lines whose first number must be after+1. A last line without its end is still being written.
func parseStatus(text string, after int) (Progress, error) {
	p := Progress{Seq: after}
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			return p, nil
		}
		text = rest
		switch what, n, _ := strings.Cut(line, " "); what {
		case "ready":
			p.Ready = true
		case "seq":
			got, err := strconv.Atoi(n)
			if err != nil || got != p.Seq+1 {
				return p, fmt.Errorf("the sequence goes from %d to %q", p.Seq, line)
			}
			p.Seq = got
		default:
			return p, fmt.Errorf("the fixture says %q after %d", line, p.Seq)
		}
	}
}
