package harness

import "testing"

func TestParseStatus(t *testing.T) {
	for _, c := range []struct {
		text  string
		after int
		want  Progress
		bad   bool
	}{
		{"", 0, Progress{}, false},
		{"ready\nseq 1\nseq 2\n", 0, Progress{true, 2}, false},
		{"ready\nseq 1\nse", 0, Progress{true, 1}, false},
		{"seq 8\nseq 9\n", 7, Progress{false, 9}, false},
		{"seq 1\nseq 3\n", 0, Progress{false, 1}, true},
		{"seq 1\nseq 1\n", 0, Progress{false, 1}, true},
		{"seq 1\nFAIL because\n", 0, Progress{false, 1}, true},
	} {
		got, err := parseStatus(c.text, c.after)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q after %d: %v, %v", c.text, c.after, got, err)
		}
	}
}
