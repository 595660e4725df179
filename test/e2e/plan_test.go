package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// planned is what rstr --plan --json prints.
type planned struct {
	Processes, Threads int
	Needs              []need
	Lost, Host         []string
	OK                 bool
}

type need struct {
	Object, Demand, Why, By, Nearest string
	Granted                          bool
}

func planOf(t *testing.T, res harness.Result) planned {
	t.Helper()
	var p planned
	if err := json.Unmarshal([]byte(res.Stdout), &p); err != nil {
		t.Fatalf("%v: %v", err, res)
	}
	return p
}

func (p planned) granted(demand string) (by string, ok bool) {
	for _, n := range p.Needs {
		if n.Demand == demand {
			return n.By, n.Granted
		}
	}
	return "absent", false
}

// TestPlan: --plan says what a restore would do and need, and who grants it, makes nothing, and ends as the restore ends.
func TestPlan(t *testing.T) {
	t.Parallel()
	j := userJob(t, "file_regular")
	running := j.image()
	j.dumped("--sign", "-o", running, strconv.Itoa(j.pid))
	res := rstr(t, "--verify", "--plan", "--json", running)
	if p := planOf(t, res); res.Code() != cli.HostDiffers || p.OK || len(p.Host) == 0 || !strings.Contains(strings.Join(p.Host, "\n"), "PID "+strconv.Itoa(j.pid)) {
		t.Errorf("the tree still runs: %v", res)
	}

	image := j.userDump()
	files := names(t, filepath.Dir(j.status))
	res = rstr(t, "--verify", "--plan", "--json", image)
	p := planOf(t, res)
	if !res.OK() || !p.OK || p.Processes != 1 || len(p.Lost)+len(p.Host) > 0 {
		t.Errorf("root: %v", res)
	}
	for demand, by := range map[string]string{"uid:0": "root's own trust", "uid:12345": "root's own trust", "gid:12345": "root's own trust",
		"pid:here": "the caller's own rights", "exe-link": "the caller's own rights"} {
		if got, ok := p.granted(demand); got != by || !ok {
			t.Errorf("%s is granted by %q (%v), not by %s", demand, got, ok, by)
		}
	}
	if text := rstr(t, "--verify", "--plan", image); !text.OK() || !strings.Contains(text.Stdout, "granted by root's own trust") || !strings.Contains(text.Stdout, "1 process, 1 thread") {
		t.Errorf("as a table: %v", text)
	}

	// Her own program without a trusted signature: all but the numbers is hers, and the link to the executable file, which goes by the
	// same right there.
	reachable(t, filepath.Dir(image), shared.commands)
	if err := os.Chmod(image, 0o644); err != nil {
		t.Fatal(err)
	}
	asHer := func(args ...string) harness.Result {
		return runs(t, harness.Command{Argv: asUser(append([]string{shared.tool("rstr")}, args...)),
			Env: []string{"HOME=" + filepath.Dir(j.status), "PATH=/usr/bin:/bin"}})
	}
	res = asHer("--pids", "--plan", "--json", image)
	p = planOf(t, res)
	if res.Code() != cli.Refused || p.OK {
		t.Errorf("a user: %v", res)
	}
	for _, n := range p.Needs {
		if refused := n.Demand == "pid:here" || n.Demand == "exe-link"; n.Granted == refused || refused && n.Nearest == "" {
			t.Errorf("a user: %+v", n)
		}
	}
	if plain := asHer("--pids", image); plain.Code() != res.Code() {
		t.Errorf("--plan ends with %d, the restore with %v", res.Code(), plain)
	}

	if harness.Exists(j.pid) || !slices.Equal(files, names(t, filepath.Dir(j.status))) {
		t.Error("--plan made something")
	}
	lacking(t, j, image)
	j.restore(image)
}

// lacking takes away a file that the tree has open.
func lacking(t *testing.T, j *job, image string) {
	t.Helper()
	var was string
	for _, f := range names(t, j.dir) {
		was = filepath.Join(j.dir, f)
	}
	if err := os.Rename(was, was+".away"); err != nil {
		t.Fatal(err)
	}
	res := rstr(t, "--verify", "--plan", "--json", image)
	if p := planOf(t, res); p.OK || !strings.Contains(strings.Join(p.Host, "\n"), was) {
		t.Errorf("without %s: %v", was, res)
	}
	if plain := rstr(t, "--verify", "--detach", image); plain.Code() != res.Code() || res.OK() || harness.Exists(j.pid) {
		t.Errorf("--plan ends with %v, the restore with %v", res, plain)
	}
	if err := os.Rename(was+".away", was); err != nil {
		t.Fatal(err)
	}
}

// TestUnreachable: a file that the user can't reach any more is a want of hers, which names it, and none of root's.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	j := userJob(t, "file_regular")
	image := j.userDump()
	reachable(t, filepath.Dir(image), shared.commands)
	if err := os.Chmod(image, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(j.dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(j.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asHer := func(args ...string) harness.Result {
		return runs(t, harness.Command{Argv: asUser(append([]string{shared.tool("rstr")}, args...)),
			Env: []string{"HOME=" + filepath.Dir(j.status), "PATH=/usr/bin:/bin"}})
	}
	res := asHer("--plan", "--json", image)
	p := planOf(t, res)
	want := "file:" + filepath.Join(j.dir, names(t, j.dir)[0])
	if !slices.ContainsFunc(p.Needs, func(n need) bool { return n.Demand == want+":x" && !n.Granted && n.Nearest != "" }) || res.Code() != cli.Refused {
		t.Errorf("%s is not wanted: %v", want, res)
	}
	refusal(t, asHer(image), cli.Refused, want)
	if harness.Exists(j.pid) {
		t.Error("something was made")
	}
	j.restore(image)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
