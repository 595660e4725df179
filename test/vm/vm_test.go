package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The program that runs in the machines is this test too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "inside" {
		os.Exit(inside())
	}
	os.Exit(m.Run())
}

func inside() int {
	b, err := os.ReadFile("/etc/note")
	_, tpm := os.Stat("/dev/tpmrm0")
	os.Stdout.WriteString("pid 1 is not us: " + map[bool]string{true: "yes", false: "no"}[os.Getpid() != 1] + "\n")
	os.Stdout.WriteString(string(b) + os.Getenv("SAY") + "\n")
	os.Stderr.WriteString(strings.Join(os.Args[2:], " ") + "\n")
	if err != nil || tpm != nil {
		return 1
	}
	return 7
}

func TestRun(t *testing.T) {
	t.Parallel()
	note := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(note, []byte("noted "), 0o600); err != nil {
		t.Fatal(err)
	}
	r := Run(t, Machine{
		Files: map[string]string{"/bin/inside": TestProgram(t, "test/vm"), "/etc/note": note},
		Argv:  []string{"/bin/inside", "inside", "a b", "c"}, Env: []string{"SAY=said"}, TPM: true,
	})
	if want := "pid 1 is not us: yes\nnoted said\na b c\n"; r.Output != want || r.Status != 7 {
		t.Errorf("status %d, %q, want 7 and %q", r.Status, r.Output, want)
	}
}

// Without the device there is no TPM, so the test above saw the machine's own.
func TestRunWithoutTPM(t *testing.T) {
	t.Parallel()
	r := Run(t, Machine{Files: map[string]string{"/bin/inside": TestProgram(t, "test/vm")}, Argv: []string{"/bin/inside", "inside"}})
	if r.Status != 1 {
		t.Errorf("status %d, %q", r.Status, r.Output)
	}
}
