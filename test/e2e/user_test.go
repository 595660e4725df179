package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// ordinary is a user without any right of her own; she needs no entry in /etc/passwd.
const ordinary = 12345

// asUser runs a command line as the ordinary user without a capability, or with those named ("checkpoint_restore"), which a program
// that has no file capabilities of its own keeps.
func asUser(argv []string, capabilities ...string) []string {
	caps := "-all"
	for _, c := range capabilities {
		caps += ",+" + c
	}
	id := strconv.Itoa(ordinary)
	return append([]string{"/usr/bin/setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--inh-caps=" + caps, "--ambient-caps=" + caps}, argv...)
}

// userJob starts a fixture as the ordinary user, in a directory of hers.
func userJob(t *testing.T, name string, extra ...string) *job {
	t.Helper()
	path, err := shared.C(name)
	if err != nil {
		t.Fatal(err)
	}
	return userProgram(t, []string{path}, extra...)
}

// userProgram starts any program so. Its standard output is hers too.
func userProgram(t *testing.T, argv []string, extra ...string) *job {
	t.Helper()
	j := newJob(t)
	reachable(t, j.dir, shared.Bin)
	home := filepath.Dir(j.status)
	log := filepath.Join(home, "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{home, j.dir, log} {
		if err := os.Chown(path, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
	}
	j.start(append(asUser(argv), append([]string{j.status, j.dir}, extra...)...), nil, nil)
	return j
}

// reachable lets everybody pass through the directories above paths, which are the tests' own.
func reachable(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		for dir := path; dir != os.TempDir(); dir = filepath.Dir(dir) {
			if dir == "/" {
				t.Fatalf("%s is not below %s", path, os.TempDir())
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// asHer runs a command as the ordinary user.
func (j *job) asHer(argv ...string) harness.Result {
	j.t.Helper()
	return runs(j.t, harness.Command{Argv: asUser(argv), Env: j.herEnv()})
}

func (j *job) herEnv() []string {
	return []string{"HOME=" + filepath.Dir(j.status), "PATH=/usr/bin:/bin"}
}

// userCkpt runs ckpt as the ordinary user.
func (j *job) userCkpt(capabilities []string, args ...string) harness.Result {
	j.t.Helper()
	return runs(j.t, harness.Command{Argv: asUser(append([]string{shared.tool("ckpt")}, args...), capabilities...), Env: j.herEnv()})
}

// herImage has the ordinary user write an image and end the tree.
func (j *job) herImage(capabilities ...string) string {
	j.t.Helper()
	tree := harness.Tree(j.pid)
	image := j.image()
	res := j.userCkpt(capabilities, "--kill", "-o", image, strconv.Itoa(j.pid))
	for end := time.Now().Add(patience); res.Code() == cli.Unsupported && strings.Contains(res.Stderr, "try again") && time.Now().Before(end); {
		j.goesOn(1)
		res = j.userCkpt(capabilities, "--kill", "-o", image, strconv.Itoa(j.pid))
	}
	if !res.OK() {
		j.t.Fatalf("dump: %v", res)
	}
	if err := harness.WaitGone(5*time.Second, tree...); err != nil {
		j.t.Fatalf("after ckpt --kill: %v", err)
	}
	return image
}

// userDump is herImage, and root signs what she wrote.
func (j *job) userDump(capabilities ...string) string {
	j.t.Helper()
	image := j.herImage(capabilities...)
	if res := ckpt(j.t, "sign", image); !res.OK() {
		j.t.Fatal(res)
	}
	return image
}

// notHers are the fixtures that an ordinary user can't run, and why.
var notHers = map[string]string{
	"attrs":    "changes its credentials",
	"chroot":   "changes its root",
	"creds":    "changes its credentials",
	"mem_cow":  "looks at page frames",
	"mem_huge": "takes huge pages, which root sets aside for one test at a time",
}

// refusedHer are the fixtures that an ordinary user can run and not dump, and what she is told.
var refusedHer = map[string]string{
	"inotify": "inotify",
}

// lentRstr is an rstr as an administrator installs it for users: with the file capability that lends them their PIDs.
func lentRstr(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	reachable(t, dir)
	path := filepath.Join(dir, "rstr")
	b, err := os.ReadFile(shared.tool("rstr"))
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if res := runs(t, harness.Command{Argv: []string{"/usr/sbin/setcap", "cap_checkpoint_restore=ep", path}}); !res.OK() {
		t.Fatal(res)
	}
	return path
}

// TestUserFixtures: whatever an ordinary user runs she can dump, without any right but her own, or is told by name what stands against it;
// and she can restore it, by an rstr that lends her nothing but the PIDs. Nobody signs anything.
func TestUserFixtures(t *testing.T) {
	names, err := shared.Sources()
	if err != nil {
		t.Fatal(err)
	}
	rstr := lentRstr(t)
	t.Run("all", func(t *testing.T) {
		for _, name := range names {
			if notHers[name] != "" || strings.HasPrefix(name, "unsupported") {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				j := userJob(t, name)
				if why := refusedHer[name]; why != "" {
					refusal(t, j.userCkpt(nil, "--kill", "-o", j.image(), strconv.Itoa(j.pid)), cli.Unsupported, why)
					j.goesOn(3)
					return
				}
				j.restless = restless(name) || name == "file_linked" // see TestOtherName
				before := withoutNameless(j.facts())
				image := j.herImage()
				was := j.progress().Seq
				if res := j.asHer(rstr, "--detach", image); !res.OK() {
					t.Fatalf("restore: %v", res)
				}
				j.reach(was + 2)
				j.unchanged(before, "a dump and a restore by an ordinary user")
			})
		}
	})
}

// withoutNameless leaves out the mappings of shared memory without a name, which comes back as a memfd where nobody may use map_files (see
// docs/using.md). What is in it and who shares it the fixtures see to themselves.
func withoutNameless(facts harness.Snapshot) harness.Snapshot {
	maps.DeleteFunc(facts, func(_, what string) bool {
		return strings.Contains(what, "/dev/zero (deleted)") || strings.Contains(what, "/memfd:shared (deleted)")
	})
	return facts
}

// shown is the part of ckpt show --json that says how mapped files were found.
func shown(t *testing.T, image string) map[string]int {
	t.Helper()
	res := ckpt(t, "show", "--json", image)
	var r struct {
		Content struct{ Mapped map[string]int }
	}
	if err := json.Unmarshal([]byte(res.Stdout), &r); err != nil || !res.OK() {
		t.Fatalf("%v: %v", err, res)
	}
	return r.Content.Mapped
}

// TestMapRoutes: files and memory that nothing but their mappings lead to come back whole by each way of saving them, and ckpt show
// says which it was: the links of map_files with CAP_CHECKPOINT_RESTORE and nothing else, paths and contents without.
func TestMapRoutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, fixture string
		capabilities  []string
		want          map[string]int
	}{
		{"with the capability", "mem_unheld", []string{"checkpoint_restore"}, map[string]int{"map_files": 10}},
		{"without it", "mem_unheld", nil, map[string]int{"descriptor": 1, "path": 2, "memory": 7}},
		{"with descriptors", "mem_deleted", nil, map[string]int{"descriptor": 2, "path": 2}},
		{"memfd, with the capability", "mem_memfd", []string{"checkpoint_restore"}, map[string]int{"map_files": 5}},
		{"memfd, without it", "mem_memfd", nil, map[string]int{"descriptor": 2, "path": 2, "memory": 1}},
		{"shared, with the capability", "mem_shared", []string{"checkpoint_restore"}, map[string]int{"map_files": 5}},
		{"shared, without it", "mem_shared", nil, map[string]int{"descriptor": 1, "path": 2, "memory": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := userJob(t, c.fixture)
			image := j.userDump(c.capabilities...)
			if got := shown(t, image); !maps.Equal(got, c.want) {
				t.Errorf("mapped files were found by %v, not by %v", got, c.want)
			}
			text := ckpt(t, "show", image).Stdout
			for how := range c.want {
				if !slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, "mapped") && strings.Contains(l, how) }) {
					t.Errorf("ckpt show does not say %q: %s", how, text)
				}
			}
			j.restore(image)
			j.goesOn(2)
		})
	}
}

// TestMapRouteRefused: a file that the user can't reach any more is saved where it is mapped privately. Where it is shared with the
// file she is told that, since a copy would not be shared with anything.
func TestMapRouteRefused(t *testing.T) {
	t.Parallel()
	j := userJob(t, "unsupported_reach")
	refusal(t, j.userCkpt(nil, "--kill", "-o", j.image(), strconv.Itoa(j.pid)), cli.Unsupported, "below/file", "shared with a file", "setcap")
	j.goesOn(3)
	j = userJob(t, "unsupported_reach", "private")
	image := j.userDump()
	if got := shown(t, image); got["memory"] != 1 {
		t.Errorf("mapped files were found by %v", got)
	}
	j.restore(image)
}

// TestUserHugePages: a user's huge pages come back without any right to follow map_files, at either end.
func TestUserHugePages(t *testing.T) {
	hugePages(t, 24)
	j := userJob(t, "mem_huge")
	for _, route := range []string{"--no-pids", "--no-pids", "--pidns"} { // from what a restore has made of them, too
		j.restoreAs(j.userImage(), route)
		j.goesOn(5)
	}
}
