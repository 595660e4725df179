package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestTrustUnsigned: an unsigned image of root's is refused, with all that it asks for, unless root insists; then it is written to the log
// first, and a log that somebody else could have written is as good as none.
func TestTrustUnsigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.begin(harness.Alice, "threads")
	image := w.dump(harness.Superuser, j)
	rstr := w.rstr("rstr", 0o755)
	refusal(t, w.run(harness.Superuser, rstr, "--detach", image), cli.Refused, "uid:0", "uid:20001", "gid:20001", "not signed", "--trust-unsigned")
	refusal(t, w.run(harness.Alice, rstr, "--trust-unsigned", "--detach", image), cli.NotAllowed, "for root alone")
	suid := w.rstr("rstr-suid", 0o755|os.ModeSetuid)
	refusal(t, w.run(harness.Alice, suid, "--trust-unsigned", "--detach", image), cli.NotAllowed, "for root alone")
	refusal(t, w.run(harness.Superuser, "/usr/bin/unshare", "--user", "--map-root-user", rstr, "--trust-unsigned", "--detach", image),
		cli.NotAllowed, "for root alone")

	log := filepath.Join(w.Var, "log/ckpt.log")
	if b, err := os.ReadFile(log); err != nil || strings.Contains(string(b), "granted") || strings.Count(string(b), "\n") != 1 {
		t.Errorf("the log says %s, %v, and not that root was refused once", b, err)
	}
	if err := os.WriteFile(log, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(log, 0o666); err != nil {
		t.Fatal(err)
	}
	refusal(t, w.run(harness.Superuser, rstr, "--trust-unsigned", "--detach", image), cli.Failure, "/var/log/ckpt.log")
	if j.left() {
		t.Fatal("something is left")
	}
	if err := os.Chmod(log, 0o640); err != nil {
		t.Fatal(err)
	}
	was := j.progress().Seq
	if res := w.run(harness.Superuser, rstr, "--trust-unsigned", "--detach", image); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Result    string
		Caller    int
		Needs, By []string
	}
	if err := json.Unmarshal(b, &e); err != nil || e.Result != "granted" || e.Caller != 0 || strings.Join(e.By, " ") != "--trust-unsigned" ||
		!strings.Contains(strings.Join(e.Needs, " "), "uid:20001") {
		t.Errorf("the log says %s (%v)", b, err)
	}
}
