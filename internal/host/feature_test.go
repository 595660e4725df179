package host

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

// release is the version of a kernel.
type release struct{ major, minor int }

func parseRelease(t *testing.T, text string) (r release) {
	t.Helper()
	if _, err := fmt.Sscanf(text, "%d.%d", &r.major, &r.minor); err != nil {
		t.Fatalf("release %q: %v", text, err)
	}
	return r
}

func (r release) before(s release) bool {
	return r.major < s.major || r.major == s.major && r.minor < s.minor
}

// TestFeatures: on a kernel as upstream released it, a probe says yes from the release on that first had the feature, and no before. A
// probe that is wrong fails here, on this machine's kernel and on those of test/kernel.
func TestFeatures(t *testing.T) {
	kernel, err := Kernel()
	if err != nil {
		t.Fatal(err)
	}
	now := parseRelease(t, kernel)
	for _, f := range Features() {
		want := Yes
		if now.before(parseRelease(t, f.Since)) {
			want = No
		}
		if got, err := f.Probe(); got != want {
			t.Errorf("%s, since %s: the probe says %v on %s: %v", f.Name, f.Since, got, kernel, err)
		}
	}
}

// TestProbesLeaveNothing: probing changes neither descriptors nor processes nor the numbers to come.
func TestProbesLeaveNothing(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	Rights("")
	before := count()
	for range 3 {
		Rights("")
		for _, f := range Features() {
			if _, err := f.Probe(); err != nil {
				t.Logf("%s: %v", f.Name, err)
			}
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
	if exe, err := os.Readlink("/proc/self/exe"); err != nil || exe != os.Args[0] {
		t.Errorf("the program is %q now: %v", exe, err)
	}
}

// TestFeatureTable: every line says all there is to say, each feature once, the oldest first.
func TestFeatureTable(t *testing.T) {
	commit := regexp.MustCompile(`^[0-9a-f]{12}$`)
	seen := map[string]bool{}
	last := release{}
	for _, f := range Features() {
		since := parseRelease(t, f.Since)
		if seen[f.Name] || f.Use == "" || f.Probe == nil || !commit.MatchString(f.Commit) || since.before(last) {
			t.Errorf("%+v", f)
		}
		seen[f.Name], last = true, since
	}
}
