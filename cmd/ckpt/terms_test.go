package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1w2d3h": (9*24 + 3) * time.Hour, "1d0.5h": 24*time.Hour + 30*time.Minute,
	} {
		if d, err := duration(text); err != nil || d != want {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "7", "d", "1h2d", "2d1w", "-1d", "1d-1h", "500ms", "99999w", "1 d"} {
		if d, err := duration(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

// A day ends with its last second, here; a time without a zone is the local one.
func TestMoment(t *testing.T) {
	day := time.Date(2030, 3, 4, 23, 59, 59, 0, time.Local)
	for text, want := range map[string]time.Time{
		"2030-03-04": day, "2030-03-04T18:30": time.Date(2030, 3, 4, 18, 30, 0, 0, time.Local),
		"2030-03-04 18:30:05": time.Date(2030, 3, 4, 18, 30, 5, 0, time.Local), "2030-03-04T18:30:00Z": time.Date(2030, 3, 4, 18, 30, 0, 0, time.UTC),
		"2030-03-04T18:30:00+02:00": time.Date(2030, 3, 4, 16, 30, 0, 0, time.UTC),
	} {
		if m, err := moment(text); err != nil || !m.Equal(want) {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"tomorrow", "2030-02-30", "2030-13-01", "18:30", ""} {
		if m, err := moment(text); err == nil {
			t.Errorf("%q: %v", text, m)
		}
	}
}

func TestPCRList(t *testing.T) {
	if list, err := pcrList("0-2,14,7"); err != nil || len(list) != 5 || list[2] != 2 || list[4] != 7 {
		t.Errorf("%v, %v", list, err)
	}
	for _, text := range []string{"24", "3-1", "a", "1-", "-1", "1,,2", "0-99"} {
		if list, err := pcrList(text); err == nil {
			t.Errorf("%q: %v", text, list)
		}
	}
}

// An option that may stand alone takes its value behind a =; whoever leaves
// that out is told so of the right one.
func TestMisplaced(t *testing.T) {
	for want, args := range map[string][]string{
		"ckpt --for=node7 12": {"--sign=k", "--for", "node7", "12"},
		"ckpt --sign=k 12":    {"--sign", "k", "--for=node7", "12"},
	} {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Args[0] = "ckpt"
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), want+"\n") {
			t.Errorf("%q: %v, %s; want %q", args, err, out, want)
		}
	}
}
