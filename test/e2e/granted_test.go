package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// office is a world with an operator's key, whom its administrator trusts, and a set-user-id rstr.
type office struct {
	*world
	key  string
	suid string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	w := newWorld(t)
	o := &office{world: w, key: filepath.Join(w.Dir, "operator"), suid: w.rstr("rstr-suid", 0o755|os.ModeSetuid)}
	o.keygen(o.key)
	o.trust("ops@test", o.key)
	o.etc("host", "here.test\n")
	return o
}

func (o *office) keygen(path string) {
	o.t.Helper()
	gen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		o.t.Fatal(err)
	}
	if res := runs(o.t, harness.Command{Argv: []string{gen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path}}); !res.OK() {
		o.t.Fatal(res)
	}
}

// etc writes a file of the administrator's.
func (o *office) etc(name, text string) {
	o.t.Helper()
	dir := filepath.Join(o.Etc, "ckpt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) trust(name, key string) {
	o.t.Helper()
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		o.t.Fatal(err)
	}
	o.etc("allowed_signers", fmt.Sprintf("%s namespaces=\"ckpt-image-operator@v1\" %s", name, pub))
}

// signed has root dump a job and sign the image for this host.
func (o *office) signed(j *job, key string, more ...string) string {
	o.t.Helper()
	tree, image := harness.Tree(j.pid), j.image()
	argv := append([]string{o.install("ckpt", "ckpt", 0o755), "--sign=" + key, "--as", "ops@test", "--for=here.test", "--kill", "-o", image}, more...)
	if res := o.run(harness.Superuser, append(argv, strconv.Itoa(j.pid))...); !res.OK() {
		o.t.Fatal(res)
	}
	if err := harness.WaitGone(5*time.Second, tree...); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Chmod(image, 0o644); err != nil {
		o.t.Fatal(err)
	}
	return image
}

// grants is a rule by which alice gets eve's programs back.
const grants = `version = 1
[[restore]]
name = "eves"
signers = ["ops@test"]
classes = ["operator"]
users = ["alice"]
replay = true
[restore.grant]
uids = ["eve"]
gids = ["eve"]
groups = ["eve"]
leave-groups = ["*"]
loosen = ["dumpable"]
pids = ["here"]
also = ["exe-link", "map-files"]
files = [{ tree = "/tmp", mode = "rw" }]
`

// eves is what a process of eve's may do.
var eves = strings.NewReplacer("20001 20010", "20002", "20001", "20002").Replace(alone)

// TestGranted: a set-user-id rstr gives alice a program of eve's, since an operator signed its image and the policy says so. It has eve's rights
// and nothing else, and the log says who got what by which rule.
func TestGranted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	for _, name := range []string{"tiny", "threads", "tree", "sock_pair", "file_owner", "mem_shared", "timers_posix"} {
		t.Run(name, func(t *testing.T) {
			o := &office{&world{o.World, t}, o.key, o.suid}
			j := o.begin(harness.Eve, name)
			image := o.signed(j, o.key)
			if err := os.WriteFile(filepath.Join(j.dir, "granted"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			was := j.progress().Seq
			if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
				t.Fatal(res)
			}
			j.reach(was + 2)
			if got := slices.Collect(maps.Keys(mayDo(t, j.pid))); len(got) != 1 || got[0] != eves {
				t.Errorf("it may do %q", got)
			}
			e := o.lastEntry()
			if e.Result != "granted" || e.Caller != harness.Alice.ID || e.Signer != "ops@test" || !slices.Contains(e.By, "rule eves") ||
				!slices.Contains(e.Needs, "uid:20002") {
				t.Errorf("the log says %+v", e)
			}
		})
	}
}

type logEntry struct {
	Result, Signer, Class, Why string
	Caller                     int
	Needs, By                  []string
}

// lastEntry is the last line of the log.
func (o *office) lastEntry() (e logEntry) {
	o.t.Helper()
	b, err := os.ReadFile(filepath.Join(o.Var, "log/ckpt.log"))
	if err != nil {
		o.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
		o.t.Fatalf("%v: %s", err, b)
	}
	return e
}

// TestNotGranted: what a policy grants for one image, it grants for no other, and to nobody else; nothing is created, and each has its message.
func TestNotGranted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	j := o.begin(harness.Eve, "tiny")
	stranger := filepath.Join(o.Dir, "stranger")
	o.keygen(stranger)
	image := o.signed(j, o.key)
	good, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(filepath.Dir(j.status), name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	edited := slices.Clone(good)
	edited[len(edited)-2000] ^= 1
	refused := func(res harness.Result, code int, words ...string) {
		t.Helper()
		refusal(t, res, code, words...)
		if j.left() {
			t.Errorf("something is left: %v", res)
		}
	}
	refused(o.run(harness.Alice, o.suid, "--detach", write("edited", edited)), cli.BadSign, "signature")
	refused(o.run(harness.Eve, o.suid, "--detach", image), cli.Refused, "rule eves: eve is none of its callers")
	refused(o.run(harness.Alice, o.suid, "--detach", "--uidmap=eve:root", "--gidmap=eve:0", image), cli.Refused, "uid:0")
	refused(o.run(harness.Alice, o.suid, "--detach", "--uidmap=eve:1", image), cli.Refused, "uid:1")
	refused(o.run(harness.Alice, o.suid, "--detach", "--no-pids", image), cli.Refused, "uid:20002")
	refused(o.run(harness.Alice, o.rstr("rstr", 0o755), "--detach", image), cli.Refused, "uid:20002")

	refused(o.run(harness.Alice, "/bin/sh", "-c", `ulimit -f 8; exec "$@"`, "sh", o.suid, "--detach", image), cli.NotAllowed, "ulimit -f")

	// The world changes.
	o.etc("policy.toml", strings.Replace(grants, `users = ["alice"]`, `users = ["root"]`, 1))
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "none of its callers")
	o.etc("policy.toml", grants+"typo = 1\n")
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "typo")
	o.etc("policy.toml", grants)
	if err := os.Chmod(filepath.Join(o.Etc, "ckpt/policy.toml"), 0o666); err != nil {
		t.Fatal(err)
	}
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "policy.toml", "somebody else than root")
	if err := os.Chmod(filepath.Join(o.Etc, "ckpt/policy.toml"), 0o600); err != nil { // root may keep it to itself
		t.Fatal(err)
	}
	o.etc("host", "elsewhere.test\n")
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.WrongHost, "here.test")
	o.etc("host", "here.test\n")
	pub, err := os.ReadFile(o.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	o.etc("revoked_keys", string(pub))
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.BadSign, "revoked")
	o.etc("revoked_keys", "")
	o.trust("ops@test", stranger)
	refused(o.run(harness.Alice, o.suid, "--detach", image), cli.Refused, "uid:20002")
	o.trust("ops@test", o.key)

	// As it was, it is granted.
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}
