package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestEach has threads that cost 100 µs at first and 200 µs later, on top of what any target costs.
func TestEach(t *testing.T) {
	threads := func(n int, took time.Duration) row {
		return row{testcase: testcase{sort: "threads", pieces: n}, dump: 9*time.Millisecond + took, floorDump: time.Millisecond}
	}
	rows := []row{threads(10, time.Millisecond), threads(40, 4*time.Millisecond), threads(160, 28*time.Millisecond),
		{testcase: testcase{sort: "processes", pieces: 40}, dump: time.Second}}
	for i, want := range []string{"", "100 µs", "200 µs", ""} {
		if got := rows[i].each(rows[i].quarter(rows), row.dumped); got != want {
			t.Errorf("row %d: %q, want %q", i, got, want)
		}
	}
	var out bytes.Buffer
	print(&out, rows, true)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 1+len(rows) || !strings.Contains(lines[0], "each") || !strings.Contains(lines[2], "100 µs") {
		t.Errorf("%s", out.String())
	}
}
