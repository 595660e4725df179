// Package e2e runs the built commands on real programs, as root, and looks at the outcome from inside (the programs check themselves)
// and from outside (/proc). Without root or without a program it needs it fails; it never skips.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// lab is what all tests share: the commands, a home with a key in it, the reaper.
type lab struct {
	*harness.Builder
	reaper *harness.Reaper
	env    []string
	temp   string

	commands string // directory of ckpt and rstr: built from this checkout, or what CKPT_TEST_COMMANDS names
}

var shared *lab

// cageWord is the first argument of this program in a cage (cage_test.go).
const cageWord = "caged"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == cageWord {
		os.Exit(caged(os.Args[2]))
	}
	if err := harness.Seclude(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	temp, err := os.MkdirTemp("", "ckpt-e2e")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(temp)
	if shared, err = newLab(temp); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func newLab(temp string) (*lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("these tests need root")
	}
	for _, program := range []string{"gcc", "go", "python3", "bash", "awk", "java", "javac", "node", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: make test installs what is missing", err)
		}
	}
	root, err := harness.Root()
	if err != nil {
		return nil, err
	}
	reaper, err := harness.NewReaper()
	if err != nil {
		return nil, err
	}
	l := &lab{Builder: harness.NewBuilder(reaper, root, filepath.Join(temp, "bin")), reaper: reaper, temp: temp}
	l.env = append(os.Environ(), "HOME="+temp, "XDG_CONFIG_HOME="+filepath.Join(temp, "config"), "XDG_STATE_HOME="+filepath.Join(temp, "state"))
	if err := os.Mkdir(l.Bin, 0o755); err != nil {
		return nil, err
	}
	if l.commands = os.Getenv("CKPT_TEST_COMMANDS"); l.commands == "" {
		l.commands = l.Bin
		if err := l.Commands(); err != nil {
			return nil, err
		}
	}
	return l, l.keygen()
}

// keygen makes the key that all tests sign with and verify by.
func (l *lab) keygen() error {
	res, err := l.reaper.Run(harness.Command{Argv: []string{l.tool("ckpt"), "keygen"}, Env: l.env, Dir: l.temp})
	if err == nil && !res.OK() {
		err = fmt.Errorf("making a key: %v", res)
	}
	return err
}

func (l *lab) tool(name string) string { return filepath.Join(l.commands, name) }

// ckpt and rstr run the commands under test and return how they ended.
func ckpt(t *testing.T, args ...string) harness.Result { return command(t, "ckpt", args...) }
func rstr(t *testing.T, args ...string) harness.Result { return command(t, "rstr", args...) }

func command(t *testing.T, name string, args ...string) harness.Result {
	t.Helper()
	return runs(t, harness.Command{Argv: append([]string{shared.tool(name)}, args...)})
}

// runs runs c as lucky does; what keeps it from running ends the test.
func runs(t *testing.T, c harness.Command) harness.Result {
	t.Helper()
	res, err := lucky(c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// lucky runs c as once does. A restore whose PIDs belong to somebody else at the moment is tried again: the whole machine draws
// from the same numbers, and what has taken one of ours since the dump is most likely another test.
func lucky(c harness.Command) (harness.Result, error) {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		res, err := once(c)
		if err != nil || !taken(res) || time.Now().After(end) {
			return res, err
		}
	}
}

func taken(res harness.Result) bool {
	return res.Code() == cli.HostDiffers && strings.Contains(res.Stderr, " in use by ")
}

// once runs c with the tests' home and in a directory without meaning, unless c says otherwise.
func once(c harness.Command) (harness.Result, error) {
	if c.Env == nil {
		c.Env = shared.env
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	return shared.reaper.Run(c)
}
